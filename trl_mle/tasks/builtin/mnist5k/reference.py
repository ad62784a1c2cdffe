"""Deskewed images, principal components and a support vector machine trained on shifted copies as well."""

import numpy as np
import pandas as pd
from scipy.ndimage import affine_transform, shift
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
pixels = [f"pixel_{i}" for i in range(784)]
x = train[pixels].to_numpy(np.float32).reshape(-1, 28, 28) / 255.0
y = train["digit"].to_numpy()
x_test = test[pixels].to_numpy(np.float32).reshape(-1, 28, 28) / 255.0

rows, columns = np.mgrid[:28, :28]


def deskew(image):
    """Centre the digit and take out its slant, both read from the image's moments."""
    mass = image.sum()
    row, column = (rows * image).sum() / mass, (columns * image).sum() / mass
    slant = ((rows - row) * (columns - column) * image).sum() / max(((rows - row) ** 2 * image).sum(), 1e-6)
    matrix = np.array([[1.0, 0.0], [slant, 1.0]])
    return affine_transform(image, matrix, offset=[row, column] - matrix @ [13.5, 13.5], order=1)


x, x_test = (np.stack([deskew(image) for image in images]) for images in (x, x_test))


def with_shifts(images, labels):
    moved = [images] + [
        np.stack([shift(image, by, order=0) for image in images]) for by in ((0, 1), (0, -1), (1, 0), (-1, 0))
    ]
    return np.concatenate(moved).reshape(-1, 784), np.tile(labels, len(moved))


def new_model():
    return make_pipeline(PCA(40, random_state=0), SVC(C=10, gamma=0.03))


fit_x, held_x, fit_y, held_y = train_test_split(x, y, test_size=0.2, random_state=0, stratify=y)
held = new_model().fit(fit_x.reshape(-1, 784), fit_y)
print(f"validation accuracy without shifted copies: {held.score(held_x.reshape(-1, 784), held_y):.4f}")

model = new_model().fit(*with_shifts(x, y))
submission = pd.DataFrame({"id": test["id"], "digit": model.predict(x_test.reshape(-1, 784))})
submission.to_csv("submission.csv", index=False)
