"""A function that gets a token, and a program that never shows it.

`cloudfn run examples/secret_env.py` gives the function's containers variables that are made here,
and one from the process that runs it. Later secrets override earlier ones. In earnest the first
would have a name, `cloudfn secret create billing TOKEN`, and be used as
`cloudfn.Secret.from_name("billing")`; or it would be read from a file that is not in the
repository, as the last lines do.
"""

import hashlib
import os
import tempfile
from pathlib import Path

import cloudfn

app = cloudfn.App("secret-env")
billing = cloudfn.Secret.from_dict({"TOKEN": "correct horse battery staple", "REGION": "earth"})
local = cloudfn.Secret.from_local_environ(["HOME"])


@app.function(secrets=[billing, local, cloudfn.Secret.from_dict({"REGION": "moon"})])
def sign(message: str) -> str:
    token = os.environ["TOKEN"]
    digest = hashlib.blake2b(message.encode(), key=token.encode(), digest_size=8).hexdigest()
    return f"{message}, signed {digest} on the {os.environ['REGION']}"


@app.local_entrypoint()
def main(message: str = "pay 12") -> None:
    print(sign.remote(message))
    print("the token is", "known" if "TOKEN" in os.environ else "not known", "here")

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, ".env").write_text("# Where we are today\nexport REGION='asteroid belt'\n")
        today = cloudfn.Secret.from_dotenv(folder)
        print(sign.with_options(secrets=[billing, today]).remote(message))
