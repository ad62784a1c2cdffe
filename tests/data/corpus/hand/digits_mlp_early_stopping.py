import pandas as pd
from sklearn.neural_network import MLPClassifier
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.model_selection import StratifiedShuffleSplit

train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
pixel_columns = [col for col in train.columns if "pixel" in col]
images = train[pixel_columns].values / 16
labels = train["digit"].values

sss = StratifiedShuffleSplit(n_splits=1, test_size=0.2, random_state=0)
fit_rows, check_rows = next(sss.split(images, labels))
nn = MLPClassifier((64,), max_iter=60, early_stopping=True, random_state=0)
nn.fit(images[fit_rows], labels[fit_rows])
guess = nn.predict(images[check_rows])
print(accuracy_score(labels[check_rows], guess))
print(confusion_matrix(labels[check_rows], guess))
test["digit"] = nn.predict(test[pixel_columns].values / 16)
test.loc[:, ["id", "digit"]].to_csv("submission.csv", index=False)
