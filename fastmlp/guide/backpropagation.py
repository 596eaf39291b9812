"""Backpropagation: the gradient of the loss, layer by layer from the output back.

Training needs the derivative of the loss with respect to each weight. The chain rule gives all of them in one pass back
through the network [1]_ [2]_. It is written out here in NumPy, and compared with what the engine does.

Forward
-------
A tiny network for the iris flowers: four features, two hidden layers of tanh, three classes. `partial_fit` with a
learning rate of next to nothing draws the initial weights and leaves them as they are. The forward pass keeps the
activations of each layer, for the way back needs them.

>>> import numpy as np
>>> from sklearn.datasets import load_digits, load_iris
>>> from sklearn.preprocessing import StandardScaler
>>> from fastmlp import MLPClassifier, check_gradient
>>> X, y = load_iris(return_X_y=True)
>>> X = StandardScaler().fit_transform(X)
>>> settings = {"activation": "tanh", "solver": "sgd", "momentum": 0, "alpha": 0, "batch_size": "full"}
>>> model = MLPClassifier((5, 4), learning_rate_init=1e-300, random_state=0, **settings)
>>> model = model.partial_fit(X, y, classes=[0, 1, 2])
>>> weights, biases = model.coefs_, model.intercepts_
>>> def forward(weights):
...     activations = [X]
...     for weight, bias in zip(weights[:-1], biases[:-1]):
...         activations.append(np.tanh(activations[-1] @ weight + bias))
...     scores = np.exp(activations[-1] @ weights[-1] + biases[-1])
...     return activations, scores / scores.sum(axis=1, keepdims=True)
>>> activations, probabilities = forward(weights)
>>> bool(np.allclose(probabilities, model.predict_proba(X)))
True

Backward
--------
The *error* of a layer is the derivative of the loss with respect to its weighted sums z. Four rules are all there is:

- Error of the output layer: the softmax and the log-loss belong together, and give prediction minus target.
- Error of a layer below: that of the layer above, back through the same weights, times the slope of the activation.
  The slope of tanh is 1 - tanh(z)**2: it needs the activation only.
- Gradient of a weight: activation of the unit where it begins, times error of the unit where it ends, over all rows.
- Gradient of a bias: the error, over all rows.

>>> def backward(weights, slope):
...     activations, probabilities = forward(weights)
...     error = (probabilities - np.eye(3)[y]) / len(X)
...     gradients = []
...     for weight, activation in zip(weights[::-1], activations[::-1]):
...         gradients.insert(0, activation.T @ error)
...         error = error @ weight.T * slope(activation)
...     return gradients
>>> gradients = backward(weights, lambda activation: 1 - activation**2)
>>> [gradient.shape == weight.shape for gradient, weight in zip(gradients, weights)]
[True, True, True]

The engine does the same. A step of plain gradient descent is minus the learning rate times the gradient, so the step
shows its gradient.

>>> stepped = MLPClassifier((5, 4), learning_rate_init=0.1, random_state=0, **settings)
>>> stepped = stepped.partial_fit(X, y, classes=[0, 1, 2])
>>> [
...     bool(np.allclose((before - after) / 0.1, gradient, atol=1e-12))
...     for before, after, gradient in zip(weights, stepped.coefs_, gradients)
... ]
[True, True, True]

The way back multiplies matrices of the same sizes as the way forward, two for one: all derivatives together cost about
as much as two more losses. Whoever moves one weight after the other, to see what the loss does, needs a loss for each.

In each layer the error is multiplied by slopes. Where they are small, little is left of it after some layers: the
gradient vanishes (`fastmlp.guide.activations`).

Is it right?
------------
A wrong gradient may still go down, only worse, and nobody notices. So compare it with differences of the loss: move a
weight by h to both sides. The error of such a central difference shrinks with the square of h, as the curve is straight
in the small. But rounding makes an error of the loss, of about 1e-16, and that is divided by h. So the best h is in
between, near 1e-5, and the error is never zero [3]_.

>>> def loss(weights):
...     return -np.log(forward(weights)[1][np.arange(len(X)), y]).mean()
>>> def difference(h):
...     values = []
...     for step in (h, -h):
...         first = weights[0].copy()
...         first[0, 0] += step
...         values.append(loss([first, *weights[1:]]))
...     return (values[0] - values[1]) / (2 * h)
>>> errors = {h: abs(difference(h) - gradients[0][0, 0]) for h in (1e-1, 1e-5, 1e-13)}
>>> bool(errors[1e-5] < errors[1e-1] / 1000), bool(errors[1e-5] < errors[1e-13] / 1000)  # too far, too near
(True, True)

`check_gradient` does that on your own network and data, for the engine, in float64: it returns the largest relative
error of a layer.

>>> check_gradient(model, X, y) < 1e-6
True

And what would a fault look like? Here someone has forgotten a square in the slope of tanh. The last layer is right, for
no slope comes before it. In those below the relative error is no matter of rounding.

>>> wrong = backward(weights, lambda activation: 1 - activation)
>>> [bool(np.linalg.norm(w - g) > 0.01 * np.linalg.norm(g)) for w, g in zip(wrong, gradients)]
[True, True, False]

"relu" has a kink, where the two sides have different slopes. `check_gradient` goes nearer there; a row that lies right
on a kink may still be a false alarm. Try others.

What the network looks at
-------------------------
Go on with the way back, through the first weights, and it ends at the inputs: how each feature moves the output of a
row. `input_gradient` gives that, for a class of your choice or the predicted one, before the softmax: a *saliency map*
[4]_. Below is the mean map of the zero, for all handwritten digits: the two middle rows of pixels in one, without the
margins. In the middle, where a zero has its hole, ink speaks against it (-); left and right, ink speaks for it (+).

>>> import warnings
>>> from sklearn.exceptions import ConvergenceWarning
>>> from sklearn.model_selection import train_test_split
>>> warnings.simplefilter("ignore", ConvergenceWarning)  # 50 epochs are all there shall be
>>> images, digits = load_digits(return_X_y=True)
>>> X_train, X_test, y_train, y_test = train_test_split(images / 16, digits, stratify=digits, random_state=0)
>>> model = MLPClassifier((50,), alpha=1, learning_rate_init=0.01, max_iter=50, random_state=0).fit(X_train, y_train)
>>> zero = model.input_gradient(X_test, output=0).mean(axis=0).reshape(8, 8)
>>> print("".join("+" if slope > 0 else "-" for slope in zero[3:5, 1:7].mean(axis=0)))
++--++

The weights of pixels that are empty in all pictures get no gradient, and the penalty takes them to zero: the network
does not look there.

>>> saliency = model.input_gradient(X_test)
>>> bool(np.abs(saliency[:, X_train.max(axis=0) == 0]).max() < 1e-3)
True

The gradient says what a small change does, not what matters on the whole. And it finds changes that chance never
makes. Noise that moves each pixel by a fifth of the scale, up or down at random, hardly disturbs the network. The same
amount, each pixel against the gradient, makes most of the answers wrong [5]_.

>>> noise = np.random.default_rng(0).choice([-0.2, 0.2], X_test.shape)
>>> against = -0.2 * np.sign(saliency)
>>> model.score(X_test + noise, y_test) > 0.8, model.score(X_test + against, y_test) < 0.4
(True, True)

References
----------
.. [1] Linnainmaa, S. (1976). Taylor expansion of the accumulated rounding error. BIT 16, 146-160.
.. [2] Rumelhart, D. E., Hinton, G. E., Williams, R. J. (1986). Learning representations by back-propagating errors.
   Nature 323, 533-536.
.. [3] Nocedal, J., Wright, S. J. (2006). Numerical optimization. Springer, chapter 8.1.
.. [4] Simonyan, K., Vedaldi, A., Zisserman, A. (2013). Deep inside convolutional networks: visualising image
   classification models and saliency maps. arXiv:1312.6034.
.. [5] Goodfellow, I. J., Shlens, J., Szegedy, C. (2014). Explaining and harnessing adversarial examples.
   arXiv:1412.6572.
"""
