"""A guide to perceptrons and neural networks, by examples that run.

Each module is one subject, in the order of a lecture. It is text with examples, no code to import. Read one with
``python -m pydoc fastmlp.guide.perceptron``, or in its source. Run its examples with
``python -m doctest -v`` and the path of the file: what they print is compared with what the text says.

========================  ============================================================================
`perceptron`              Rosenblatt's perceptron: what one unit learns, what it cannot, and how soon
`activations`             saturating and not: vanishing gradients, dead units, self-normalising networks
`representation`          the universal representation theorem, as a network that is built, not trained
`losses`                  which error to minimise: outliers, quantiles, counts, margins, wrong labels
`backpropagation`         the chain rule layer by layer; whether a gradient is right; what a network looks at
`gradient_descent`        stochastic, on minibatches, on all rows at once; the learning rate and its schedules
`optimizers`              momentum, Nesterov's, Adam and its kin, L-BFGS
`initialisation`          why weights begin at random, and how large
`data_preparation`        splitting, shuffling, centring, scaling, columns of words, and leaks
`training_curves`         following training and validation loss: overfitting, early stopping, streams
`regularisation`          penalties, dropout, changed rows: not to learn the faults of data by heart
`hyperparameters`         which to tune, on a grid, at random, and on subsets
`data_and_performance`    how much more data would help
========================  ============================================================================

The data are small and come with scikit-learn, so that each module runs in seconds. On other data the numbers are
others; what they show is the same.

Some examples train for a chosen number of epochs, whether or not the training has come to its end by then. They switch
off scikit-learn's `ConvergenceWarning`, which says just that. Leave it on in your work.
"""
