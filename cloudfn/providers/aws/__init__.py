"""The user's own AWS account. The one package that imports boto3, when it is first used."""
