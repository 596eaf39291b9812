"""When a training no longer improves."""

from fastmlp.formulas.elementary import formula


@formula
def compare_loss(loss, best, epochs_without, tol):
    """Return the best loss and how many epochs in a row have not improved it by more than `tol`, after one more epoch.

    scikit-learn's rule: a NaN counts as an improvement and is never the best.
    """
    epochs_without = epochs_without + 1 if loss > best - tol else 0
    return (loss if loss < best else best), epochs_without
