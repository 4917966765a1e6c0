"""The only package that speaks SQL: cluster, migrations, the writer and the readers."""
