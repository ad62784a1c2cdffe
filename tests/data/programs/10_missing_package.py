import pandas as pd
import numpy as np
import no_such_boosting_library as nsb
from sklearn.metrics import accuracy_score

train = pd.read_csv("input/train.csv")
