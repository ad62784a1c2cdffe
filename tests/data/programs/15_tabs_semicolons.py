import pandas as pd; from sklearn.tree import DecisionTreeClassifier as Tree
def run(seed):
	train = pd.read_csv('input/train.csv'); test = pd.read_csv('input/test.csv')
	if seed: X, y = train.drop(['id', 'target'], axis=1), train['target']
	else: raise ValueError(seed)
	tree = Tree(random_state=seed); tree.fit(X, y); pred = tree.predict(test.drop('id', axis=1))
	with open('submission.csv', 'w') as f: f.write('id,target\n' + '\n'.join(f'{i},{int(p)}' for i, p in zip(test['id'], pred)) + '\n')
if __name__ == '__main__': run(3)