"""What kind of solution a program is: the kinds of models that it builds, and how it prepares its features.

The names of estimators that the program calls decide. Both keys are made of the words of this file alone, so a policy cannot make up
kinds: a class of its own counts as `other`. The program is not parsed.
"""

from __future__ import annotations

import re

from trl_mle.experience.fingerprint import LONGEST, without_comments

_MODELS = {
    "linear": "LinearRegression Ridge RidgeCV RidgeClassifier RidgeClassifierCV Lasso LassoCV LassoLars LassoLarsCV Lars ElasticNet "
    "ElasticNetCV LogisticRegression LogisticRegressionCV SGDClassifier SGDRegressor Perceptron PassiveAggressiveClassifier "
    "PassiveAggressiveRegressor BayesianRidge ARDRegression HuberRegressor TheilSenRegressor RANSACRegressor QuantileRegressor "
    "PoissonRegressor GammaRegressor TweedieRegressor OrthogonalMatchingPursuit OLS GLM Logit lstsq polyfit",
    "tree": "DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier ExtraTreeRegressor",
    "forest": "RandomForestClassifier RandomForestRegressor ExtraTreesClassifier ExtraTreesRegressor XGBRFClassifier XGBRFRegressor",
    "boosting": "GradientBoostingClassifier GradientBoostingRegressor HistGradientBoostingClassifier HistGradientBoostingRegressor "
    "AdaBoostClassifier AdaBoostRegressor XGBClassifier XGBRegressor XGBRanker LGBMClassifier LGBMRegressor LGBMRanker "
    "CatBoostClassifier CatBoostRegressor CatBoost lgb.train lightgbm.train xgb.train xgboost.train",
    "svm": "SVC SVR NuSVC NuSVR LinearSVC LinearSVR OneClassSVM",
    "kernel": "KernelRidge GaussianProcessClassifier GaussianProcessRegressor",
    "neighbours": "KNeighborsClassifier KNeighborsRegressor RadiusNeighborsClassifier RadiusNeighborsRegressor NearestCentroid "
    "NearestNeighbors KDTree cKDTree BallTree",
    "neural": "MLPClassifier MLPRegressor Sequential nn.Linear nn.Sequential torch.nn.Linear Dense NeuralNetClassifier "
    "NeuralNetRegressor",
    "bayes": "GaussianNB MultinomialNB ComplementNB BernoulliNB CategoricalNB",
    "discriminant": "LinearDiscriminantAnalysis QuadraticDiscriminantAnalysis",
    "clusters": "KMeans MiniBatchKMeans GaussianMixture BayesianGaussianMixture",
    "ensemble": "StackingClassifier StackingRegressor VotingClassifier VotingRegressor BaggingClassifier BaggingRegressor",
    "constant": "DummyClassifier DummyRegressor",
}
_FEATURES = {
    "scale": "StandardScaler MinMaxScaler RobustScaler MaxAbsScaler Normalizer",
    "shape": "QuantileTransformer PowerTransformer KBinsDiscretizer TransformedTargetRegressor np.log1p np.log numpy.log1p numpy.log",
    "encode": "OneHotEncoder OrdinalEncoder TargetEncoder LabelEncoder LabelBinarizer get_dummies pd.get_dummies factorize pd.factorize",
    "text": "TfidfVectorizer CountVectorizer HashingVectorizer TfidfTransformer",
    "reduce": "PCA TruncatedSVD NMF KernelPCA FastICA IncrementalPCA SparsePCA UMAP FeatureAgglomeration",
    "expand": "PolynomialFeatures SplineTransformer Nystroem RBFSampler RandomTreesEmbedding",
    "select": "SelectKBest SelectPercentile SelectFromModel RFE RFECV SequentialFeatureSelector VarianceThreshold",
    "search": "GridSearchCV RandomizedSearchCV HalvingGridSearchCV HalvingRandomSearchCV create_study optuna.create_study",
}
MOST_MODELS = 3
"""Kinds of models in a family; a program that builds more is `mixed`."""

_CALL = re.compile(r"(?<![\w.])([A-Za-z]\w{0,60}+(?:\.\w{1,60}+){0,8}+)\(")
_ALIAS = re.compile(r"(?<!\w)(\w{2,60}+) as (\w{1,60}+)")


def _kind_of(kinds: dict[str, str]) -> dict[str, str]:
    return {name: kind for kind, names in kinds.items() for name in names.split()}


_MODEL_OF, _FEATURE_OF = _kind_of(_MODELS), _kind_of(_FEATURES)


def family_of(code: str) -> tuple[str, str]:
    """Family and features of the program `code`, such as `("boosting+linear", "encode+scale")`.

    A program without a known model is `other`, one with more than three kinds of them is `mixed`. Of a program longer than
    `LONGEST`, the start decides.
    """
    text = without_comments(code[:LONGEST], strings=False)
    aliases = {alias: name for name, alias in _ALIAS.findall(text)}
    models, features = set(), set()
    for dotted in _CALL.findall(text):
        short = ".".join(dotted.split(".")[-2:])  # `nn.Linear`, `lgb.train`
        last = dotted.rsplit(".", 1)[-1]
        for name in (short, aliases.get(last, last)):
            if name in _MODEL_OF:
                models.add(_MODEL_OF[name])
            if name in _FEATURE_OF:
                features.add(_FEATURE_OF[name])
    family = "other" if not models else "mixed" if len(models) > MOST_MODELS else "+".join(sorted(models))
    return family, "+".join(sorted(features))
