import os
import numpy as np
import pandas as pd
from sklearn.ensemble import GradientBoostingClassifier

for dirname, _, filenames in os.walk('/kaggle/input'):
    for filename in filenames:
        print(os.path.join(dirname, filename))

BASE = '/kaggle/input/image-segmentation'
train = pd.read_csv(os.path.join(BASE, 'train.csv'))
test = pd.read_csv(os.path.join(BASE, 'test.csv'))
y = train.pop('category')
gb = GradientBoostingClassifier(n_estimators=50)
gb.fit(train.drop('id', axis=1), y)
pd.DataFrame(gb.predict_proba(test.drop('id', axis=1)), columns=gb.classes_).to_csv('submission.csv')
