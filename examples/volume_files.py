"""Files that functions share, and when each of them sees what.

`cloudfn run examples/volume_files.py` uploads a text, has a function count its words into a file of
the same Volume, and reads that file here. A container works on a copy of its own: others see what
it wrote after `commit()`, and it sees what others wrote after `reload()`.
"""

import io
import json
import tempfile
from pathlib import Path

import cloudfn

app = cloudfn.App("volume-files")
texts = cloudfn.Volume.from_name("example-texts", create_if_missing=True)
PLACE = Path(tempfile.gettempdir()) / "cloudfn-example-texts"

TEXT = "the cat sat on the mat and the dog sat on the cat"


@app.function(volumes={str(PLACE): texts})
def count_words(name: str) -> int:
    counts: dict[str, int] = {}
    for word in (PLACE / name).read_text().split():
        counts[word] = counts.get(word, 0) + 1
    (PLACE / "counts.json").write_text(json.dumps(counts))
    texts.commit()
    return len(counts)


@app.function(volumes={str(PLACE): texts.read_only()})
def most_frequent() -> str:
    counts = json.loads((PLACE / "counts.json").read_text())
    return max(counts, key=counts.__getitem__)


@app.local_entrypoint()
def main() -> None:
    with texts.batch_upload(force=True) as batch:
        batch.put_file(io.BytesIO(TEXT.encode()), "cats.txt")
    print(count_words.remote("cats.txt"), "different words")
    print("most frequent:", most_frequent.remote())
    for entry in texts.listdir("/"):
        print(f"{entry.path}: {entry.size} bytes")
    cloudfn.Volume.objects.delete("example-texts")
