import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB
train = pd.read_csv('input/train.csv')
test = pd.read_csv('input/test.csv')
train.loc[3, 'word'] = float('nan')
vectorizer = CountVectorizer(analyzer='char', ngram_range=(1, 2))
X_train = vectorizer.fit_transform(train['word'])
X_test = vectorizer.transform(test['word'])
clf = MultinomialNB()
clf.fit(X_train, train['language'])
probs = clf.predict_proba(X_test)
submission = pd.DataFrame(probs, columns=clf.classes_)
submission.insert(0, 'id', test['id'])
submission.to_csv('submission.csv', index=False)
