"""An image as a value: what its digest covers, what it asks for, what containers see attached."""

import json
import subprocess
import sys
from dataclasses import asdict, replace

from hypothesis import given
from hypothesis import strategies as st

from cloudfn.model.image import Attachment, ImageSpec, Layer
from cloudfn.model.runtime import environment_of
from cloudfn.model.secret import SecretRef

BASE = Layer("debian_slim", {"python_version": "3.12"})
ATTACHED = Layer("add_local_dir", {"context": "c1", "remote_path": "/data"})

_MEANING = {"secret", "secrets", "registry_secret", "projects"}
texts = st.text(max_size=8)
layers = st.builds(
    Layer,
    st.sampled_from(["pip_install", "apt_install", "run_commands", "env_like"]),
    # Some names mean something: their values are no lists of texts.
    st.dictionaries(
        texts.filter(lambda name: name not in _MEANING),
        st.lists(texts, max_size=3),
        max_size=3,
    ),
)
specs = st.builds(lambda found: ImageSpec((BASE, *found)), st.lists(layers, max_size=5))


def with_arguments(**arguments):
    return ImageSpec((BASE, Layer("pip_install", arguments)))


@given(specs)
def test_a_spec_that_travelled_has_the_same_digest(spec):
    again = ImageSpec(**json.loads(json.dumps(asdict(spec))))

    assert again == spec
    assert again.digest == spec.digest


@given(specs, st.randoms())
def test_the_order_of_layers_counts(spec, random):
    shuffled = list(spec.layers)
    random.shuffle(shuffled)
    other = ImageSpec(tuple(shuffled))

    assert (other.digest == spec.digest) == (other == spec)


@given(specs, layers)
def test_one_more_layer_is_another_image(spec, layer):
    assert spec.with_layer(layer).digest != spec.digest


@given(specs, st.lists(texts, max_size=3))
def test_what_is_attached_is_no_part_of_the_image(spec, contexts):
    attached = [Layer("add_local_dir", {"context": c, "remote_path": "/a"}) for c in contexts]

    assert ImageSpec((*spec.layers, *attached)).digest == spec.digest


def test_what_is_copied_is_part_of_the_image():
    one, other = (
        ImageSpec((BASE, Layer("add_local_dir", {"context": c, "remote_path": "/a", "copy": True})))
        for c in ("c1", "c2")
    )

    assert one.digest != other.digest


def test_the_digest_is_the_same_in_any_process():
    spec = with_arguments(packages=["numpy"], env={"B": "1", "A": "2"})
    script = (
        "import json, sys; from cloudfn.model.image import ImageSpec;"
        "print(ImageSpec(**json.loads(sys.argv[1])).digest)"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, json.dumps(asdict(spec))],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7"},
    )

    assert told.stdout.strip() == spec.digest == "c5f7ed2fe944e72f6f644e"


def test_how_it_is_built_is_no_part_of_it():
    plain = with_arguments(packages=["numpy"])

    assert with_arguments(packages=["numpy"], force_build=True).digest == plain.digest
    assert with_arguments(packages=["numpy"], gpu="A100").digest == plain.digest
    assert with_arguments(packages=["numpy"], pre=True).digest != plain.digest


def test_a_function_counts_by_its_source_and_not_by_its_program():
    def running(**arguments):
        return ImageSpec((BASE, Layer("run_function", {"source": "a", **arguments}))).digest

    assert running(program="p1", call="c1") == running(program="p2", call="c2")
    assert running(program="p1") != running(program="p1", source="b")


def test_settings_alone_need_no_environment():
    settings = ImageSpec((Layer("env", {"vars": {"A": "1"}}), Layer("workdir", {"path": "/a"})))

    assert not settings.with_layer(ATTACHED).needs_environment
    assert not ImageSpec().needs_environment
    assert ImageSpec((BASE,)).needs_environment
    assert settings.with_layer(Layer("pip_install", {"packages": ["a"]})).needs_environment


def test_it_knows_which_python_it_asks_for():
    added = Layer("from_registry", {"tag": "ubuntu", "add_python": "3.13"})

    assert ImageSpec((BASE,)).python == "3.12"
    assert ImageSpec((added, ATTACHED)).python == "3.13"
    assert ImageSpec((Layer("from_registry", {"tag": "ubuntu"}),)).python is None
    assert ImageSpec().python is None


def test_it_knows_whether_it_has_to_be_built_anew():
    assert with_arguments(force_build=True).force_build
    assert not with_arguments(force_build=False).force_build


def test_it_names_its_contexts_and_secrets_once():
    spec = ImageSpec(
        (
            BASE,
            Layer("run_function", {"program": "p", "call": "c", "secrets": [{"name": "s"}]}),
            Layer("from_local_env", {"projects": [{"context": "q"}]}),
            Layer("pip_install", {"secrets": [{"name": "s"}, {"name": "t"}]}),
            ATTACHED,
            ATTACHED,
        )
    )

    assert spec.contexts == ("p", "c", "q", "c1")
    assert spec.secrets == (SecretRef("s"), SecretRef("t"))


def test_containers_see_what_is_attached_and_where_builds_cannot_copy_that_too():
    file = Layer(
        "add_local_file", {"context": "c2", "name": "a", "remote_path": "/a", "copy": True}
    )
    module = Layer("add_local_python_source", {"context": "c3", "modules": ["m"]})
    spec = ImageSpec((BASE, file, module, ATTACHED))

    seen = Attachment("c1", "", "/data")
    assert spec.attachments() == (seen,)
    assert spec.attachments(copied=True) == (Attachment("c2", "a", "/a"), seen)


def test_an_image_for_another_platform_is_another_image():
    spec = ImageSpec((Layer("debian_slim", {"python_version": "3.12"}),))
    arm = replace(spec, platform="linux/arm64")

    assert len({spec.digest, arm.digest, replace(spec, platform="linux/amd64").digest}) == 3
    more = arm.with_layer(Layer("env", {"env": {"A": "1"}}))
    assert more.platform == "linux/arm64"
    assert environment_of(spec, "docker", "3.12.1", "linux/arm64") == arm
    assert environment_of(None, "docker", "3.12.1", "linux/arm64") == arm
