"""Examples: short programs, each about one thing, to read from top to bottom and to run.

`first_fit`
    Handwritten digits, with scikit-learn's class and with fastmlp's: the same curve.
`tabular`
    Numbers and words, some of them missing, in a pipeline with early stopping, beside simpler models.
`regularisation`
    Two moons with noise: what a penalty and dropout do to the border between two classes. With a picture.
`learning_curve`
    Overfitting and underfitting: score against the number of rows, loss against epochs. With a picture.
`search`
    A grid, and successive halving at random, in a pipeline.
`quantiles`
    Intervals around a prediction, and how many new targets they hold. With a picture.
`digits_saliency`
    Which pixels of a digit matter to the network. With a picture.
`approximation`
    The universal representation theorem: neurons against tolerance. With a picture.
`own_activation`
    A Python function as activation, beside relu. With a picture.
`gradient_check`
    Backpropagation against finite differences, and a wrong derivative that is found.
`larger_than_memory`
    Rows in a file, read in blocks.
`dask_cluster`
    Rows that stay on the workers of a Dask cluster.
`gpu`
    The same program on the CPU and on a GPU.

Run one by `python -m fastmlp.examples.first_fit`. Each takes some seconds, the first time more, as the engine is then
compiled; none needs a network connection or a file. `main()` of each prints what it finds and returns it as a dict.
Those with a picture take its path as an argument, `python -m fastmlp.examples.regularisation moons.png`, and draw it
with matplotlib, the extra `plots`; without one they draw nothing. In Python: `main(picture=None)`, where a picture is
the path of a file of any type that matplotlib writes.
"""
