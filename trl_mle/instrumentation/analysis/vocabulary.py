"""Vocabulary of machine learning: which libraries, classes and functions mean which milestone. Data only."""

from __future__ import annotations

import re


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


LIBRARIES = _names(
    "autogluon catboost category_encoders csv cudf cuml cv2 dask datasets datatable fastai flax gensim h2o imblearn "
    "implicit jax joblib keras librosa lightfm lightgbm lightning mlxtend nltk numpy optuna pandas PIL polars prophet "
    "pyarrow pyspark pytorch_lightning pytorch_tabnet river scipy sentence_transformers skimage sklearn skorch spacy "
    "statsmodels surprise tensorflow textblob thinc timm tokenizers torch torchaudio torchtext torchvision "
    "transformers umap vaex xgboost xgb lgb"
)
"""Top-level modules for machine learning and data (`csv` is the standard library's reader of data)."""

READERS = _names(
    "read_csv read_parquet read_table read_excel read_json read_feather read_pickle read_hdf read_fwf read_orc "
    "read_ndjson read_ipc scan_csv scan_parquet loadtxt genfromtxt fromfile recfromcsv fread imread load_dataset "
    "read_text read_bytes from_csv"
)
"""Functions and methods that read input data in one call."""

STREAM_READERS = frozenset({"reader", "DictReader", "read", "readlines", "readline", "load", "loads"})
"""What is called inside a `with open(...)` block to read from it."""

FEATURE_CALLS = _names(
    "fit_transform get_dummies train_test_split factorize pad_sequences texts_to_sequences DMatrix QuantileDMatrix "
    "Pool DataLoader TensorDataset fit_resample from_tensor_slices text_dataset_from_directory"
)
"""Functions and methods that turn data into features, whatever they are called on."""

FRAME_METHODS = _names("drop fillna dropna pop assign to_numpy select_dtypes pivot_table")
"""Methods that build features when they are called on loaded data."""

FRAME_KEEPING = _names(
    "copy drop fillna dropna astype sample reset_index set_index merge join assign replace query rename head "
    "sort_values sort_index select_dtypes apply map pipe interpolate clip with_columns collect to_pandas to_numpy "
    "items values keys iloc loc"
)
"""Methods whose result is the same kind of thing as what they are called on."""

MODEL_KEEPING = _names("fit to cuda cpu double float half eval compile set_params get_model")

FEATURE_NAME = re.compile(
    r"(?:all_|x_|X_)?(?:features?|feats?|feature_(?:cols|columns|names|list|matrix)|predictors|num_cols|cat_cols)"
    r"|[xX](?:_?(?:train|test|tr|val|valid|va|all|full|df|data|np|tensor|fold|t|te|hold|dev|mat|scaled))?(?:_\w+)?"
    r"|(?:train|tr|df|data|all|full)_?X"
)
"""Names of variables that hold features."""

DATA_NAME = re.compile(r"(?:df|data|train)(?:_?(?:df|data|set|test|train|all|full|raw))?", re.IGNORECASE)
SUBMISSION_NAME = re.compile(
    r"sub(?:mission|mit|m)?s?(?:_\w+)?|\w+_sub(?:mission)?|sample\w*|out(?:put)?\w*|preds?\w*"
)

TRANSFORMER_CLASS = re.compile(
    r"\w*(?:Scaler|Encoder|Vectorizer|Imputer|Binarizer|Normalizer|Discretizer|Hasher|Transformer|Tokenizer|"
    r"Projection|Embedding|Sampler|Nystroem)|(?:Incremental|Kernel|Sparse)?PCA|TruncatedSVD|NMF|FastICA|UMAP|TSNE|Isomap|"
    r"SMOTE\w*|Select(?:KBest|Percentile|FromModel|Fpr|Fdr|Fwe)|SequentialFeatureSelector|VarianceThreshold|"
    r"PolynomialFeatures|FeatureUnion|KBinsDiscretizer|FeatureAgglomeration|ColumnTransformer|CountVectorizer|"
    r"TextVectorization|Normalization|StringLookup|IntegerLookup"
)
MODEL_CLASS = re.compile(
    r"\w*(?:Classifier|Regressor|Regression|Classification|Forest|Boosting|Perceptron|SearchCV|Machine)(?:CV)?|"
    r"(?:Ridge|Lasso|ElasticNet|Lars|LassoLars|OrthogonalMatchingPursuit|MultiTask\w+)(?:CV)?|"
    r"(?:Nu|Linear)?SV[CR]|OneClassSVM|\w*NB|(?:Linear|Quadratic)DiscriminantAnalysis|LDA|QDA|\w*KMeans|\w*Mixture|"
    r"BayesianRidge|ARDRegression|KernelRidge|NearestNeighbors|NearestCentroid|DBSCAN|CalibratedClassifierCV|RidgeClassifier|"
    r"CatBoost|Booster|TabNet\w+|Prophet|ARIMA|SARIMAX|OLS|WLS|GLS|GLM|Logit|Probit|MNLogit|AutoModel\w*|\w+For[A-Z]\w+|"
    r"Sequential|\w*(?:Net|Model|MLP|CNN|RNN|LSTMModel)|TabularPredictor|LinearLearner"
)
MODEL_FACTORIES = _names("create_model cnn_learner tabular_learner vision_learner")
MODEL_BASES = _names("Module Model LightningModule ClassifierMixin RegressorMixin ClassifierBase PreTrainedModel")
TRAINER_CLASS = re.compile(r"(?:Seq2Seq|Lightning|SFT)?Trainer")
SPLITTER_CLASS = re.compile(r"\w*(?:KFold|ShuffleSplit|TimeSeriesSplit|LeaveOneOut|PredefinedSplit|LeaveOneGroupOut)")
SPLIT_CALLS = frozenset({"train_test_split", "random_split", "cross_val_predict", "setdiff1d"})

TRANSFORMER_NAME = re.compile(
    r"(?:\w*_)?(?:scaler|enc|encoder|vec|vect|vectori[sz]er|tfidf|imp|imputer|pca|svd|le|ohe|oe|ss|selector|"
    r"transformer|preprocess\w*|preproc|tokenizer|normali[sz]er|binari[sz]er)\d*",
    re.IGNORECASE,
)
MODEL_NAME = re.compile(
    r"(?:\w*_)?(?:model|clf|reg|regr|regressor|classifier|est|estimator|net|network|pipe|pipeline|grid|search|gs|"
    r"rf|lr|xgb|lgb|lgbm|gbm|gb|svm|svc|knn|nb|ridge|lasso|booster|learner|ensemble|stack|voter)\w{0,2}",
    re.IGNORECASE,
)

TRAINING_CALLS = _names("cross_val_score cross_validate cross_val_predict fit_predict partial_fit")
TRAINING_CALLS_OF_DATA = _names("train_on_batch fit_generator fit_one_cycle")
BOOSTER_LIBRARIES = frozenset({"lightgbm", "xgboost", "lgb", "xgb", "catboost"})
LEAST_SQUARES = frozenset({"lstsq", "polyfit", "curve_fit", "nnls"})
CALLBACK_RUNNERS = _names("optimize minimize differential_evolution fmin basinhopping gp_minimize")
"""Functions that run a function they are given, at least once."""

POOL_LIBRARIES = frozenset({"multiprocessing", "multiprocess", "concurrent", "joblib", "torch"})
WAITING_POOLS = _names("Pool ThreadPool")
"""Classes whose `map` calls a function in other processes or threads, and ends when all calls have."""
POOLS = WAITING_POOLS | _names("ThreadPoolExecutor ProcessPoolExecutor")
"""Classes whose `map` calls a function in other processes or threads. Of some, the calls have ended when elements are taken."""

CROSS_VALIDATED_SCORES = frozenset({"cross_val_score", "cross_validate", "learning_curve", "validation_curve"})
METRIC_FUNCTIONS = _names(
    "accuracy_score balanced_accuracy_score roc_auc_score average_precision_score f1_score fbeta_score "
    "precision_score recall_score log_loss brier_score_loss cohen_kappa_score matthews_corrcoef jaccard_score "
    "hamming_loss zero_one_loss classification_report confusion_matrix mean_squared_error root_mean_squared_error "
    "mean_absolute_error mean_squared_log_error root_mean_squared_log_error median_absolute_error r2_score "
    "explained_variance_score max_error mean_absolute_percentage_error mean_poisson_deviance mean_gamma_deviance "
    "mean_pinball_loss top_k_accuracy_score ndcg_score dcg_score precision_recall_fscore_support roc_curve "
    "precision_recall_curve adjusted_rand_score silhouette_score cross_entropy mse_loss l1_loss "
    "binary_cross_entropy_with_logits"
)
SCORE_ATTRIBUTES = frozenset({"best_score_", "oob_score_", "best_validation_score_"})
AVERAGES = frozenset({"mean", "sum", "average", "sqrt", "count_nonzero", "median", "norm"})

HELD_OUT = re.compile(
    r"(?:^|_|^[xyXYdpP])(?:val|valid\w*|va|vl|test\w*|te|tst|hold\w*|held\w*|ho|dev|oof|eval|out_of_fold|unseen)(?:_|$|\d)|"
    r"^(?:val|valid|test|hold|held|oof)[a-zA-Z]*(?:_|$|\d)",
    re.IGNORECASE,
)
TRAINING_PART = re.compile(r"(?:^|_|^[xyXY])(?:train\w*|tr|trn|fit)(?:_|$|\d)", re.IGNORECASE)
PREDICTION_NAME = re.compile(r"(?:^|_)(?:oof|out_of_fold|pred\w*|prob\w*|hat)(?:_|$|\d)", re.IGNORECASE)
INPUT_NAME = re.compile(r"x(?:_\w*|\d*|va\w*|te\w*)|\w*(?:feature|input)\w*", re.IGNORECASE)
ANSWERS_NAME = re.compile(
    r"y(?:_?(?:te|va|val|valid|test|true|dev|hold|eval)\w*)?|\w*(?:target|label|truth|true|actual|gold)\w*",
    re.IGNORECASE,
)
TARGET_NAME = re.compile(r"y\w*|\w*(?:target|label|truth|true|actual|gold)\w*", re.IGNORECASE)

WRITERS = _names("to_csv write_csv savetxt write_text sink_csv tofile to_csv_file")
FILE_MOVES = frozenset({"copy", "copyfile", "copy2", "move", "rename", "replace"})
STREAM_WRITERS = frozenset({"write", "writelines", "writerow", "writerows", "writeheader", "dump", *WRITERS})

SAFE_DECORATORS = _names(
    "staticmethod classmethod lru_cache cache no_grad inference_mode wraps timer dataclass total_ordering final"
)
"""Decorators that run a function, or the methods of a class, as they are; others (a just-in-time compiler) might not survive
a print."""

SKIPPING_DECORATORS = _names(
    "contextmanager asynccontextmanager skip skipIf skipUnless property cached_property delayed ref fixture"
)
"""Decorators after which a call does not run the function."""

SWALLOWERS = _names("suppress raises assertRaises assertRaisesRegex ExitStack AsyncExitStack")
"""Context managers that may end an exception of their block."""

GENERATOR_CONSUMERS = _names(
    "sum list tuple set dict frozenset sorted max min any all join next array fromiter extend update concat vstack hstack "
    "stack concatenate column_stack mean fmean median Counter deque DataFrame Series from_records writelines writerows "
    "fit Parallel"
)
"""Functions and methods that take at least one element of a generator."""
FIRST_ONLY = frozenset({"next", "any", "all"})
"""Of these, the ones that may take one alone."""

EXITS = frozenset({"exit", "quit", "sys.exit", "os._exit", "os.abort"})
PASS_THROUGH_ITERATORS = _names("enumerate tqdm trange list tuple sorted reversed set track")
