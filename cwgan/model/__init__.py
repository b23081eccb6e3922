"""The trained model as people use it: the file that answers, and its place in MLflow."""
