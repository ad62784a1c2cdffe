# %% [markdown]
# # Computer prices - quick baseline

# %%
import numpy as np
import pandas as pd
import warnings
warnings.filterwarnings('ignore')

# %%
INPUT_DIR = './input'
SEED = 42
N_FOLDS = 5
TARGET = 'price'
np.random.seed(SEED)

# %%
train = pd.read_csv(f'{INPUT_DIR}/train.csv')
test = pd.read_csv(f'{INPUT_DIR}/test.csv')
sub = pd.read_csv(f'{INPUT_DIR}/sample_submission.csv')
train.head()

# %%
train.info()
train.describe().T

# %%
for c in ['cd', 'multi', 'premium']:
    for d in (train, test):
        d[c] = (d[c] == 'yes').astype(int)
train['age'] = train['trend'].max() - train['trend']
test['age'] = train['trend'].max() - test['trend']
FEATS = [c for c in train.columns if c not in ['id', TARGET]]

# %%
from sklearn.model_selection import KFold
from sklearn.ensemble import HistGradientBoostingRegressor

oof = np.zeros(len(train))
preds = np.zeros(len(test))
kf = KFold(n_splits=N_FOLDS, shuffle=True, random_state=SEED)
for fold, (trn_idx, val_idx) in enumerate(kf.split(train)):
    m = HistGradientBoostingRegressor(max_iter=60, random_state=SEED)
    m.fit(train.loc[trn_idx, FEATS], train.loc[trn_idx, TARGET])
    oof[val_idx] = m.predict(train.loc[val_idx, FEATS])
    preds += m.predict(test[FEATS]) / N_FOLDS
    print(f'fold {fold}: {np.sqrt(np.mean((oof[val_idx] - train.loc[val_idx, TARGET]) ** 2)):.2f}')
print('CV', np.sqrt(((oof - train[TARGET]) ** 2).mean()))

# %%
sub[TARGET] = preds
sub.to_csv('submission.csv', index=False)
sub.head()
