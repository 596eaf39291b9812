"""The parts of the estimators' docstrings that they share."""

import inspect
from collections.abc import Callable

PARAMETERS = """\
hidden_layer_sizes : int or array-like of int of shape (n_layers - 2,), default=(100,)
    The number of units in each hidden layer.
activation : str, callable, Activation, or sequence of these, default="relu"
    The function of the hidden units, one name for all or one for each hidden layer: "identity", "logistic", "tanh",
    "relu", "leaky_relu" (slope 0.01), "elu", "selu", "softplus", "softsign", "hard_tanh", "arctan", "gelu" (with the
    normal distribution function itself, no approximation), "silu" or "mish". The first four are scikit-learn's; the
    first use of another one compiles the engine once more. Or a Python function of one number, the preactivation, such
    as ``lambda z: z * math.tanh(z)``: it is compiled, and differentiated exactly; `fastmlp.Activation` says what it may
    do, and takes its derivative, too.
solver : {"lbfgs", "sgd", "adam", "adamw", "nadam", "rmsprop", "adagrad"}, default="adam"
    "sgd" is gradient descent on minibatches with momentum, "adam" scales its steps by running moments of the gradient
    [3]_, "lbfgs" is a quasi-Newton method on all rows at once [5]_, good for small data. "lbfgs" computes in float64
    whatever `dtype` is. "adamw" is Adam whose weights decay by learning rate times `alpha` in each step, apart from
    the loss and its gradient [6]_. "nadam" is Adam with Nesterov's momentum [7]_; "rmsprop" divides the gradient by the
    root of a running mean of its square, which decays by `beta_2` [8]_, "adagrad" by that of the sum of all squares
    [9]_. The first use of one of these four compiles the engine once more.
alpha : float, default=0.0001
    The L2 penalty: alpha / 2 times the sum of the squared weights, divided by the rows of a batch (or the sum of
    their weights), is added to the loss. Biases are not penalised. For "adamw": the rate at which weights decay.
batch_size : int, "auto" or "full", default="auto"
    Rows of a minibatch; "auto" is min(200, n_samples), "full" is all rows: gradient descent that is not stochastic.
    More than there are is clipped, with a warning. Not used by "lbfgs".
learning_rate : str or callable, default="constant"
    The schedule. Of "sgd" only: "invscaling" divides `learning_rate_init` by (rows seen + 1) ** `power_t` after each
    epoch; "adaptive" divides the learning rate by 5 whenever the training has not improved for `n_iter_no_change`
    epochs, and stops once it is at most 1e-6. Of all solvers but "lbfgs": "step" multiplies it by
    `learning_rate_decay` after each `decay_epochs`; "exponential" multiplies it by `learning_rate_decay` in each epoch,
    little by little; "cosine" lets it fall to 0 along half a cosine [13]_; "one_cycle" lets it rise from
    1/25 of `learning_rate_init` in the first three tenths of the epochs and fall to nearly 0 in the others [14]_; a
    function of the number of steps (batches) taken before gives the learning rate itself.
learning_rate_init : float, default=0.001
    The step size of all solvers but "lbfgs", before a schedule changes it.
power_t : float, default=0.5
    The exponent of the schedule "invscaling".
max_iter : int, default=200
    The most epochs (passes over the data), or iterations of "lbfgs".
shuffle : bool or "blocks", default=True
    Whether the rows are taken in another order in each epoch, by all solvers but "lbfgs". "blocks": in an order in
    which a file is read in larger parts. Rows that lie one after another, half a MiB of them, are a block. The blocks
    are drawn in random order, and the rows of some of them, 32 MiB together, are mixed. What is trained on at a time is
    from so many places of the file, so rows that are sorted by class are mixed less well than with True.

    With "blocks", `X` may be larger than the memory: a `numpy.memmap`, or an array of Zarr, HDF5, Dask or any other
    library that has `shape`, `dtype` and slices of rows. It is read block by block, converted and checked as it is
    read, by another thread while the blocks before are trained on; in memory are twice 32 MiB, or two batches if these
    are larger. Where `X` has `chunks`, a block is one or more whole chunks, and eight blocks at least are mixed. The
    results are those of the same rows in memory, bit for bit, if the blocks are the same. `y` and `sample_weight` are
    in memory, and so are the rows that early stopping holds out. Not for "lbfgs", `missing="indicator"` and
    device="cuda", which takes only a memmap of the precision of the arithmetic. With True or False such `X` is read
    whole, up to 1 GiB, and a memmap of the precision of the arithmetic is used where it lies. Predictions read in
    blocks in any case.
random_state : int, RandomState instance or None, default=None
    Draws the initial weights, the held-out part of early stopping, and the order of the rows, as scikit-learn draws
    them: the same seed gives the same curve. Pass an int for the same results in each call.
tol : float, default=1e-4
    What counts as an improvement of the loss or of the validation score. For "lbfgs": the largest component of the
    gradient at which it ends.
verbose : bool or int, default=False
    1: print the loss of each epoch or iteration. 2: show a line that changes instead, with losses, validation score,
    rows a second and the time left at most (not in `partial_fit`); needs the extra `progress`.
warm_start : bool, default=False
    Whether `fit` goes on from the present weights instead of new ones.
momentum : float, default=0.9
    The part of the last step that "sgd" repeats, in [0, 1].
nesterovs_momentum : bool, default=True
    Whether the momentum of "sgd" is Nesterov's [4]_.
early_stopping : bool, default=False
    Whether to hold out `validation_fraction` of the rows, or to take `X_val`, and to stop and return to the best epoch
    when their score has not improved by `tol` for `n_iter_no_change` epochs. Not for "lbfgs". In `partial_fit` the
    calls take the place of the epochs; see there.
validation_fraction : float, default=0.1
    The part of the rows that early stopping holds out, in [0, 1).
beta_1 : float, default=0.9
    The decay of the first moment of "adam", "adamw" and "nadam" per step, in [0, 1).
beta_2 : float, default=0.999
    The decay of the second moment of "adam", "adamw", "nadam" and "rmsprop" per step, in [0, 1).
epsilon : float, default=1e-8
    Added to the denominator of the steps of "adam" and its kin.
n_iter_no_change : int or inf, default=10
    The number of epochs without an improvement that all solvers but "lbfgs" bear.
max_fun : int, default=15000
    The most evaluations of the loss by "lbfgs".
n_threads : int or None, default=None
    Threads of training and prediction. None: as many as the process may use, divided among the fits that run in it at
    once: `NUMBA_NUM_THREADS` or `numba.get_num_threads()`, else all cores, but no more than `OMP_NUM_THREADS` and one
    in a worker of `multiprocessing`. The results are the same, bit for bit, for any number.
device : {"cpu", "cuda", "auto"}, default="cpu"
    Where to train and predict. "cuda": on an NVIDIA GPU; needs the extra `cuda`. "auto": on a GPU where there is one,
    and predictions only if there is much to compute. The results are those of the CPU but for the order of sums, and
    the same, bit for bit, in each run on a GPU. A model that was trained on a GPU predicts on the CPU where there is
    none. Functions of your own, as activation or in `augment`, need the CPU. Rows that the GPU's memory has no room for
    stay on the host, and go there in parts while others are trained on; the results are the same, bit for bit.

    With "cuda", and with "auto" where there is a GPU, `X` may be an array that is on the GPU already: of CuPy, PyTorch
    or any other library by `__cuda_array_interface__` or DLPack. If it is contiguous, row by row, and of the precision
    of the arithmetic it is used in place, else converted there. `y` and `sample_weight` may be there too.
output : {"numpy", "input"}, default="numpy"
    What predictions, `transform` and gradients are returned as for `X` that is on a GPU. "input": an array on the GPU,
    of CuPy or PyTorch if `X` is, else of Numba, with `__cuda_array_interface__`. Labels that are no numbers, and sparse
    ones, stay on the host. For all other `X` it is a NumPy array.
precision : {"float32", "tf32", "bfloat16"}, default="float32"
    What tensor cores of a GPU round the factors of a product to, in training in float32 and where layers are large;
    small ones, sums, weights, activations and all else are float32 in any case. "float32": each factor is the sum of
    two rounded ones, which gives float32's accuracy at a third of the speed [22]_. "tf32": to 11 significant bits.
    "bfloat16": to 8. The others than "float32" need a GPU of compute capability 8.0 or later.
dtype : {"float32", "float64"} or None, default=None
    The precision of parameters and arithmetic. None: float32 if `X` is float32, else float64; a warm start or
    `partial_fit` keeps the precision of the weights it goes on from, and a prediction takes the wider one of `X` and
    the weights.
weight_init : str, default="auto"
    How the initial weights are drawn. "auto": as scikit-learn draws them, uniform in the bounds of [2]_ with bounds for
    "logistic" of their own, but for "selu" as "lecun_normal". "glorot_uniform", "glorot_normal" [2]_: with the variance
    2 / (inputs + outputs); "he_uniform", "he_normal" [10]_: 2 / inputs, for relu and its kin; "lecun_uniform",
    "lecun_normal" [11]_: 1 / inputs; "orthogonal" [12]_: orthonormal rows or columns. Biases are 0 in all but "auto".
learning_rate_decay : float or None, default=None
    The factor of the schedules "step" and "exponential", in (0, 1].
decay_epochs : float or None, default=None
    The epochs between two steps of the schedule "step"; the length of "cosine" and "one_cycle", where None is
    `max_iter`.
warmup_epochs : float, default=0
    In so many epochs at the beginning all learning rates rise linearly to what they would be without it.
max_grad_norm : float or None, default=None
    Gradients whose norm, over all weights and biases, is larger are scaled down to it [15]_. None: no bound.
gradient_tol : float or None, default=None
    Ends the training when the norm of the gradient over all rows is at most that; the loss does not end it then. Needs
    batch_size="full". None: not used.
l1_ratio : float, default=0.0
    The part of the penalty that is L1, in [0, 1], as in scikit-learn's ElasticNet: the penalty is alpha times
    (1 - l1_ratio) / 2 times the sum of the squared weights plus l1_ratio times the sum of their absolute values. Each
    step ends with the proximal map of the L1 part [16]_, in the metric of the solver, so that weights become
    exactly 0. Not for "lbfgs" and "adamw".
scale_alpha : bool, default=True
    Whether the penalty is divided by the rows of a batch (or the sum of their weights), as in scikit-learn. False: it
    is the same for any batch size.
dropout : float or sequence of float, default=0.0
    The part of the hidden units that are silent in training, one rate for all hidden layers or one for each, in [0, 1):
    drawn anew for each row and step, the activations of the others divided by 1 - rate [17]_. `loss_curve_` is the loss
    with dropout. Predictions, and the validation score, use all units. Not for "lbfgs".
augment : dict, callable or None, default=None
    Changes to the rows of each step, drawn anew each time, one or more of: {"mixup": a} mixes each row, its target and
    its weight with those of another row of the batch, with a share drawn for each step from Beta(a, a) [18]_;
    {"function": change} calls your own Python function change(row, uniform) for each row, an array of its features to
    be changed in place, and an array of as many random numbers between 0 and 1; {"jitter": deviation} adds normal noise
    to all features; {"drop_features": rate} sets so many of them to 0, the mean of scaled features. They are done in
    this order. A function alone may be passed as it is. Numba compiles it, so it is made of loops and arithmetic, and
    makes no further arrays. Only for dense X; not for "lbfgs".
scoring : str, callable, list, tuple, dict or None, default=None
    The score of the validation rows. None: the accuracy, of a regressor R squared. "loss": minus the validation loss.
    Else a name of `sklearn.metrics.get_scorer`, or a callable (estimator, X, y) that gives a number, the larger the
    better. It gets a copy of the estimator that holds the present weights, the validated rows, and `sample_weight`
    if the rows have weights and it has such a parameter (without one the rows count alike). Of several, as a list,
    a tuple or a dict of names, all are recorded in `history_`, and the first one decides early stopping. Needs
    early_stopping=True or `X_val`. Where an output is not finite all scores are NaN, and no scorer is called.
keep_optimizer : bool, default=False
    Whether the optimizer's moments and steps are kept through warm starts, and in pickles and copies. False: a warm
    start begins with new ones, as in scikit-learn, and a pickle leaves them out, which are once or twice the size of
    the weights: the first `partial_fit` after it begins with new ones at step 0, and the learning rate goes on. With
    True it goes on in warm starts as well, unless a parameter of it but `decay_epochs` has been changed.
missing : {"zero", "indicator"} or None, default=None
    What to do with NaN in `X`. None: an error. "zero": take 0 for it, which is the mean of features that were
    standardised before. "indicator": the same, and the network has a further input for each feature that had NaN in
    `fit` (or the first `partial_fit`), 1 where the feature is missing and 0 elsewhere. In sparse `X`, NaN must be
    stored; what is not stored is 0 and not missing. Infinity is always an error.
callbacks : callable, sequence of callable or None, default=None
    Functions that are called after each epoch, or iteration of "lbfgs", with what is known of it, a
    `fastmlp.callbacks.Epoch`: a named tuple with `number`, `loss`, `learning_rate`, `seconds`, `validation_loss`,
    `validation_score`, `numbers` and `fitted_estimator`, a function that returns the estimator so far. If one returns
    True the training ends there. If one raises, `fit` does, and the estimator stays as it was. `fastmlp.callbacks` has
    some. For scikit-learn's callbacks see `set_callbacks`.
on_divergence : {"error", "retry"}, default="error"
    What to do when a weight is no longer finite after an epoch. "error": the fit ends with it (with early stopping and
    a finite score before, with a warning and the best weights). "retry": it goes on from the weights before the epoch
    with the least loss, with learning rates of a fifth, as often as it has to, until they are at most 1e-6; each time
    with a ConvergenceWarning. The epoch that is lost does not count. Not with "lbfgs" or a function as `learning_rate`.
"""

ATTRIBUTES = """\
loss_ : float
    The loss in the last epoch; after "lbfgs" at the final weights.
best_loss_ : float or None
    The least loss of an epoch, None with early stopping. Not after "lbfgs", like the next five.
loss_curve_ : list of float
    The loss of each epoch, the mean over its batches, each at the weights before its step.
validation_scores_ : list of float or None
    The score of the validation rows after each epoch, the first one of `scoring`; None without early stopping. Begins
    anew where a warm start has another first score.
best_validation_score_ : float or None
    The best of them, whose weights are kept; None without early stopping.
validation_loss_curve_ : list of float or None
    The loss of the validation rows after each epoch, without penalty; None if the last fit had no such rows.
history_ : dict of str to list of float
    Lists with a number for each epoch, through warm starts and partial fits: "loss"; "validation_loss" and
    "validation_accuracy" (or whatever the names of `scoring` are) where there are validation rows, NaN in epochs
    without; "learning_rate" of the epoch's last step, before Adam's correction of the moments' bias; "seconds" since
    the start of its fit.
t_ : int
    The number of rows seen: rows times epochs. 0 after "lbfgs".
coefs_ : list of ndarray of shape (inputs, outputs)
    The weights of each layer.
intercepts_ : list of ndarray of shape (outputs,)
    The biases of each layer.
n_features_in_ : int
    The number of features in `fit`, without the inputs that `missing="indicator"` adds.
feature_names_in_ : ndarray of shape (n_features_in_,)
    The names of the features, where `X` had only string names.
indicator_ : sklearn.impute.MissingIndicator
    Which features had NaN, as `indicator_.features_`; only with `missing="indicator"`.
n_iter_ : int
    The number of epochs, or iterations of "lbfgs", of the last fit.
n_layers_ : int
    The number of layers, input and output included.
n_outputs_ : int
    The number of output units.
out_activation_ : str
    The activation of the output layer.
"""

DIFFERENCES = """\
With the same parameters and seed this follows `{theirs}` to rounding, but where that has a fault:

- A fit that diverges stops in that epoch with a ValueError that names it. With early stopping it ends with a
  ConvergenceWarning and the weights of the best epoch, the last validation score being NaN; there is a ValueError
  only if no epoch had a finite score.
- A warm start with early stopping keeps the best weights of all fits (scikit-learn overwrites those of the earlier
  fit), and solver, `loss` and `early_stopping` may change between warm starts. Changed layer sizes are a ValueError.
- `partial_fit` can stop early; scikit-learn's refuses to.
- Negative or only zero `sample_weight` is a ValueError. A batch whose weights are all zero is skipped.
- An error leaves a fitted estimator as it was.
"""

REFERENCES = """\
.. [1] Rumelhart, D. E., Hinton, G. E., Williams, R. J. (1986). Learning representations by back-propagating errors.
   Nature 323, 533-536.
.. [2] Glorot, X., Bengio, Y. (2010). Understanding the difficulty of training deep feedforward neural networks.
   AISTATS. The bounds of the initial weights.
.. [3] Kingma, D. P., Ba, J. (2014). Adam: a method for stochastic optimization. arXiv:1412.6980.
.. [4] Nesterov, Y. (1983). A method for solving the convex programming problem with convergence rate O(1/k^2). Doklady
   Akademii Nauk SSSR 269, 543-547.
.. [5] Byrd, R. H., Lu, P., Nocedal, J., Zhu, C. (1995). A limited memory algorithm for bound constrained optimization.
   SIAM Journal on Scientific Computing 16, 1190-1208.
.. [6] Loshchilov, I., Hutter, F. (2017). Decoupled weight decay regularization. arXiv:1711.05101.
.. [7] Dozat, T. (2016). Incorporating Nesterov momentum into Adam. ICLR workshop.
.. [8] Tieleman, T., Hinton, G. (2012). Lecture 6.5, RMSprop. Neural networks for machine learning, Coursera.
.. [9] Duchi, J., Hazan, E., Singer, Y. (2011). Adaptive subgradient methods for online learning and stochastic
   optimization. Journal of Machine Learning Research 12, 2121-2159.
.. [10] He, K., Zhang, X., Ren, S., Sun, J. (2015). Delving deep into rectifiers. arXiv:1502.01852.
.. [11] LeCun, Y., Bottou, L., Orr, G., Mueller, K.-R. (1998). Efficient backprop. In: Neural networks: tricks of the
   trade. Springer.
.. [12] Saxe, A., McClelland, J., Ganguli, S. (2013). Exact solutions to the nonlinear dynamics of learning in deep
   linear neural networks. arXiv:1312.6120.
.. [13] Loshchilov, I., Hutter, F. (2016). SGDR: stochastic gradient descent with warm restarts. arXiv:1608.03983.
.. [14] Smith, L. N., Topin, N. (2017). Super-convergence: very fast training of neural networks using large learning
   rates. arXiv:1708.07120.
.. [15] Pascanu, R., Mikolov, T., Bengio, Y. (2013). On the difficulty of training recurrent neural networks. ICML.
.. [16] Daubechies, I., Defrise, M., De Mol, C. (2004). An iterative thresholding algorithm for linear inverse problems
   with a sparsity constraint. Communications on Pure and Applied Mathematics 57, 1413-1457.
.. [17] Srivastava, N., Hinton, G. E., Krizhevsky, A., Sutskever, I., Salakhutdinov, R. (2014). Dropout: a simple way to
   prevent neural networks from overfitting. Journal of Machine Learning Research 15, 1929-1958.
.. [18] Zhang, H., Cisse, M., Dauphin, Y. N., Lopez-Paz, D. (2017). mixup: beyond empirical risk minimization.
   arXiv:1710.09412.
.. [22] Ootomo, H., Yokota, R. (2022). Recovering single precision accuracy from Tensor Cores while surpassing the FP32
   theoretical peak performance. arXiv:2203.03341.
"""


def document(theirs: str) -> Callable[[type], type]:
    """Return a decorator that fills the shared parts into a class's docstring, at %PARAMETERS% etc.

    Parameters
    ----------
    theirs : str
        The name of scikit-learn's class.

    Returns
    -------
    callable
        The decorator.
    """
    parts = {
        "%PARAMETERS%": PARAMETERS,
        "%ATTRIBUTES%": ATTRIBUTES,
        "%DIFFERENCES%": DIFFERENCES.replace("{theirs}", theirs),
        "%REFERENCES%": REFERENCES,
    }

    def decorate(cls: type) -> type:
        if cls.__doc__ is not None:  # python -OO strips it
            text = inspect.cleandoc(cls.__doc__)
            for mark, part in parts.items():
                text = text.replace(mark, part.rstrip())
            cls.__doc__ = text
        return cls

    return decorate
