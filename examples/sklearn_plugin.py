"""A scikit-learn classifier: ddl-bench run --plugin examples/sklearn_plugin.py --methods forest"""

from sklearn.ensemble import RandomForestClassifier

from ddl_bench import from_estimator

Forest = from_estimator("forest", RandomForestClassifier, n_estimators=50)
