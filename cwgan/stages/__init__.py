"""The stages on plain values: configuration, data set and files; nothing here knows MLflow."""
