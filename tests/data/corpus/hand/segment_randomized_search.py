import pandas as pd
from scipy.stats import loguniform
from sklearn.model_selection import RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, QuantileTransformer
from sklearn.linear_model import LogisticRegression

train = pd.read_csv('input/train.csv').set_index('id')
test = pd.read_csv('input/test.csv').set_index('id')

search = RandomizedSearchCV(
    make_pipeline(StandardScaler(), LogisticRegression(max_iter=400)),
    {'logisticregression__C': loguniform(1e-2, 1e2)},
    n_iter=4, cv=3, scoring='neg_log_loss', random_state=5,
)
search.fit(train.drop(columns='category'), train['category'])
proba = pd.DataFrame(search.predict_proba(test), columns=search.classes_, index=test.index)
proba.reset_index().to_csv('submission.csv', index=False)
