import pandas as pd
from sklearn.svm import LinearSVC
from sklearn.model_selection import train_test_split
from sklearn.metrics import accuracy_score, log_loss


def prepare_data():
    train = pd.read_csv('input/train.csv')
    test = pd.read_csv('input/test.csv')
    X = train.drop(['id', 'category'], axis=1)
    y = train['category']
    return X, y, test


def train_model(X_train, y_train):
    model = LinearSVC(random_state=0, max_iter=200)
    model.fit(X_train, y_train)
    return model


def evaluate(model, X_val, y_val):
    acc = accuracy_score(y_val, model.predict(X_val))
    print(f'Accuracy: {acc:.4f}')
    ll = log_loss(y_val, model.predict_proba(X_val))
    print(f'Log loss: {ll:.4f}')


def main():
    X, y, test = prepare_data()
    X_train, X_val, y_train, y_val = train_test_split(X, y, test_size=0.2, random_state=42)
    model = train_model(X_train, y_train)
    evaluate(model, X_val, y_val)
    predictions = model.predict_proba(test.drop('id', axis=1))
    submission = pd.DataFrame(predictions, columns=model.classes_)
    submission.insert(0, 'id', test['id'])
    submission.to_csv('submission.csv', index=False)


if __name__ == '__main__':
    main()
