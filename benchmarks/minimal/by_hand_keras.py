"""mnist-cnn by hand, as short as it gets: what a raced program is measured against.

``KERAS_BACKEND`` says on what; ``fit`` over the same batches, as in the raced program.
"""

import keras
from keras import layers


def make():
    """The compiled model."""
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3, epsilon=1e-8), loss)
    return model


class Batches(keras.utils.PyDataset):
    """Batches that were drawn before."""

    def __init__(self, batches):
        super().__init__()
        self.batches = [(x.transpose(0, 2, 3, 1), y) for x, y in batches]

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def fit(model, batches):
    """One epoch over the batches."""
    model.fit(Batches(batches), epochs=1, verbose=0, shuffle=False)
