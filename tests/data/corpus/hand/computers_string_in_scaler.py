import pandas as pd
from sklearn.preprocessing import StandardScaler
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split

train_df = pd.read_csv('input/train.csv')
test_df = pd.read_csv('input/test.csv')

X = train_df.drop(columns=['price', 'id'])
y = train_df['price']
X_train, X_val, y_train, y_val = train_test_split(X, y, test_size=0.2, random_state=42)

scaler = StandardScaler()
X_train_scaled = scaler.fit_transform(X_train)
X_val_scaled = scaler.transform(X_val)

model = LinearRegression()
model.fit(X_train_scaled, y_train)
print('Validation R2:', model.score(X_val_scaled, y_val))
preds = model.predict(scaler.transform(test_df.drop(columns=['id'])))
pd.DataFrame({'id': test_df['id'], 'price': preds}).to_csv('submission.csv', index=False)
