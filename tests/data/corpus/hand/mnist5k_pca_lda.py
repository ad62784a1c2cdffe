import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import cross_val_score
import time

t0 = time.perf_counter()
tr = pd.read_csv("input/train.csv", dtype=np.int32).to_numpy()
te = pd.read_csv("input/test.csv", dtype=np.int32).to_numpy()
pca = PCA(n_components=30, svd_solver="randomized", random_state=0)
Z = pca.fit_transform(tr[:, 1:-1] / 255)
lda = LinearDiscriminantAnalysis()
print("5-fold accuracy", np.round(cross_val_score(lda, Z, tr[:, -1], cv=5), 3))
lda.fit(Z, tr[:, -1])
np.savetxt("submission.csv", np.column_stack([te[:, 0], lda.predict(pca.transform(te[:, 1:] / 255))]),
           delimiter=",", fmt="%d", header="id,digit", comments="")
