import pandas as pd
import numpy as np
import torch
import torch.nn as nn
from sklearn.preprocessing import StandardScaler

train = pd.read_csv('input/train.csv')
test = pd.read_csv('input/test.csv')
feats = [c for c in train.columns if c.startswith('f')]
sc = StandardScaler()
X = torch.tensor(sc.fit_transform(train[feats]), dtype=torch.float32)
y = torch.tensor(train['progression'].values, dtype=torch.float32).view(-1, 1)
model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))
opt = torch.optim.Adam(model.parameters(), lr=1e-2)
for epoch in range(200):
    opt.zero_grad()
    loss = nn.MSELoss()(model(X), y)
    loss.backward()
    opt.step()
with torch.no_grad():
    p = model(torch.tensor(sc.transform(test[feats]), dtype=torch.float32)).numpy().ravel()
pd.DataFrame({'id': test['id'], 'progression': p}).to_csv('submission.csv', index=False)
