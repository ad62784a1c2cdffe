"""What kind of solution a program is: the kinds of models that it builds, and how it prepares its features.

The names of estimators that the program calls decide. Both keys are made of the words of this file alone, so a policy cannot make
up kinds: a class of its own counts as `other`. The program is not parsed.
"""

from __future__ import annotations

from trl_mle.experience.fingerprint import tokens_of

_MODELS = {
    "linear": "LinearRegression Ridge RidgeCV RidgeClassifier RidgeClassifierCV Lasso LassoCV LassoLars LassoLarsCV Lars "
    "ElasticNet ElasticNetCV LogisticRegression LogisticRegressionCV SGDClassifier SGDRegressor "
    "Perceptron PassiveAggressiveClassifier "
    "PassiveAggressiveRegressor BayesianRidge ARDRegression HuberRegressor TheilSenRegressor RANSACRegressor QuantileRegressor "
    "PoissonRegressor GammaRegressor TweedieRegressor OrthogonalMatchingPursuit OLS GLM Logit lstsq polyfit",
    "tree": "DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier ExtraTreeRegressor",
    "forest": "RandomForestClassifier RandomForestRegressor ExtraTreesClassifier ExtraTreesRegressor "
    "XGBRFClassifier XGBRFRegressor",
    "boosting": "GradientBoostingClassifier GradientBoostingRegressor HistGradientBoostingClassifier "
    "HistGradientBoostingRegressor AdaBoostClassifier AdaBoostRegressor XGBClassifier XGBRegressor XGBRanker LGBMClassifier "
    "LGBMRegressor LGBMRanker CatBoostClassifier CatBoostRegressor CatBoost lgb.train lightgbm.train xgb.train xgboost.train",
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
    "shape": "QuantileTransformer PowerTransformer KBinsDiscretizer TransformedTargetRegressor "
    "np.log1p np.log numpy.log1p numpy.log",
    "encode": "OneHotEncoder OrdinalEncoder TargetEncoder LabelEncoder LabelBinarizer get_dummies factorize",
    "text": "TfidfVectorizer CountVectorizer HashingVectorizer TfidfTransformer",
    "reduce": "PCA TruncatedSVD NMF KernelPCA FastICA IncrementalPCA SparsePCA UMAP FeatureAgglomeration",
    "expand": "PolynomialFeatures SplineTransformer Nystroem RBFSampler RandomTreesEmbedding",
    "select": "SelectKBest SelectPercentile SelectFromModel RFE RFECV SequentialFeatureSelector VarianceThreshold",
    "search": "GridSearchCV RandomizedSearchCV HalvingGridSearchCV HalvingRandomSearchCV create_study optuna.create_study",
}
MOST_MODELS = 3
"""Kinds of models in a family; a program that builds more is `mixed`."""


def _kind_of(kinds: dict[str, str]) -> dict[str, str]:
    return {name: kind for kind, names in kinds.items() for name in names.split()}


_MODEL_OF, _FEATURE_OF = _kind_of(_MODELS), _kind_of(_FEATURES)


def family_of(code: str, tokens: list[str] | None = None) -> tuple[str, str]:
    """Family and features of the program `code`, such as `("boosting+linear", "encode+scale")`.

    A program without a known model is `other`, one with more than three kinds of them is `mixed`. Of a program longer than
    `LONGEST`, the start decides. `tokens` are those of the program, if they are known.
    """
    tokens = tokens or tokens_of(code)
    aliases: dict[str, str] = {}  # `import Ridge as R`
    models: set[str] = set()
    features: set[str] = set()
    for index, token in enumerate(tokens):
        if token == "as" and 0 < index < len(tokens) - 1:
            aliases[tokens[index + 1]] = tokens[index - 1]
        elif token == "(" and index > 0:
            name = tokens[index - 1]
            called = {aliases.get(name, name)}
            if tokens[index - 2 : index - 1] == ["."]:
                called = {name, f"{tokens[index - 3]}.{name}"}  # `nn.Linear`, `lgb.train`
            models.update(_MODEL_OF[name] for name in called if name in _MODEL_OF)
            features.update(_FEATURE_OF[name] for name in called if name in _FEATURE_OF)
    family = "other" if not models else "mixed" if len(models) > MOST_MODELS else "+".join(sorted(models))
    return family, "+".join(sorted(features))
