"""The method by which estimators are written to files."""

import os


class Storable:
    """What can be written to a file that holds no code."""

    def save(self, path: str | os.PathLike) -> None:
        """Write the fitted estimator to a file that holds no code, for `fastmlp.load`.

        It is a safetensors file: arrays are tensors, all else is JSON in its metadata. Needs the extra `files`. The
        file is whole at any time, and so is one that it replaces, whatever happens to this process: what is written
        goes to another file first.

        What comes back predicts the same, bit for bit, and has the same parameters and attributes; a training goes on
        as after a pickle, with the optimizer's moments if `keep_optimizer`. Attributes of your own and requests of
        metadata (`set_fit_request` and its like) are not in the file.

        Parameters that only a training needs may be code: a function as `callbacks`, `augment`, `scoring` or
        `learning_rate`, or a generator of random numbers as `random_state`. They are left out: what is loaded has the
        default, to be set again before it is trained further. But for `callbacks` there is a UserWarning. A function
        as `learning_rate` leaves out the optimizer's moments too.

        Parameters
        ----------
        path : str or os.PathLike
            The file, `.safetensors` by custom. One that is there is replaced.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        TypeError
            If a parameter or attribute cannot be written without code: a function of your own as `activation`, which
            predictions need; or if the class is a subclass of ours.
        ValueError
            If parameters or attributes do not fit together, so that nobody could read the file.
        OSError
            If the file cannot be written.

        See Also
        --------
        fastmlp.load : Reads it.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> import fastmlp
        >>> X, y = [[0.0], [1.0], [2.0], [3.0]], ["low", "low", "high", "high"]
        >>> model = fastmlp.MLPClassifier((5,), solver="lbfgs", random_state=0).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "model.safetensors")
        ...     model.save(path)
        ...     loaded = fastmlp.load(path)
        >>> loaded.predict([[0.5], [2.5]]).tolist()
        ['low', 'high']
        >>> bool((loaded.predict_proba(X) == model.predict_proba(X)).all())
        True
        """
        from fastmlp.storage import save  # which knows the estimators

        save(self, path)
