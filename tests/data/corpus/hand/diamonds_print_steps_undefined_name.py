import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split

# Step 1: Load data
print("Loading data...")
train_data = pd.read_csv("input/train.csv")
test_data = pd.read_csv("input/test.csv")

# Step 2: Preprocess
print("Preprocessing...")
for col in ["cut", "color", "clarity"]:
    train_data[col] = train_data[col].astype("category").cat.codes
    test_data[col] = test_data[col].astype("category").cat.codes

features = ["carat", "cut", "color", "clarity", "depth", "table", "x", "y", "z"]
target = "price"

# Step 3: Train
print("Training...")
X_train, X_test, y_train, y_test = train_test_split(train_data[features], train_data[target], test_size=0.2)
model = LinearRegression()
model.fit(X_train, y_train)

# Step 4: Evaluate
print("Evaluating...")
y_pred = model.predict(X_test)
rmsle = mean_squared_log_error(y_test, y_pred) ** 0.5
print("RMSLE:", rmsle)

# Step 5: Submit
submission = pd.DataFrame({"id": test_data["id"], "price": model.predict(test_data[features])})
submission.to_csv("submission.csv", index=False)
