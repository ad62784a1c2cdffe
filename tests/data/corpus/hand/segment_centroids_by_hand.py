# Gaussian naive Bayes written out.
import math
import pandas as pd

df = pd.read_csv('input/train.csv')
num = [c for c in df.columns if c not in ('id', 'category')]
classes = sorted(df['category'].unique())

def summarise(frame):
    params = {}
    for cls in classes:
        part = frame[frame['category'] == cls]
        params[cls] = (len(part) / len(frame), part[num].mean(), part[num].var() + 1e-3)
    return params

def posterior(row, params):
    logp = {}
    for cls, (prior, mu, var) in params.items():
        ll = math.log(prior)
        for c in num:
            ll -= 0.5 * math.log(2 * math.pi * var[c]) + (row[c] - mu[c]) ** 2 / (2 * var[c])
        logp[cls] = ll
    top = max(logp.values())
    z = sum(math.exp(v - top) for v in logp.values())
    return {c: math.exp(v - top) / z for c, v in logp.items()}

holdout = df.sample(frac=0.1, random_state=0)
params = summarise(df.drop(holdout.index))
loss = 0.0
for _, row in holdout.iterrows():
    loss -= math.log(max(posterior(row, params)[row['category']], 1e-15))
print('holdout log loss', loss / len(holdout))

params = summarise(df)
test = pd.read_csv('input/test.csv')
out = pd.DataFrame([posterior(r, params) for _, r in test.iterrows()], columns=classes)
out.insert(0, 'id', test['id'])
out.to_csv('submission.csv', index=False)
