"""What of a client's environment is told to the steps of a build."""

from cloudfn.providers.docker.reach import reach


def test_indexes_are_told_and_how_this_machine_installs_is_not():
    told = reach(
        {
            "PIP_INDEX_URL": "https://pypi.example/simple",
            "UV_INDEX_INNER_PASSWORD": "hidden",
            "PIP_DEFAULT_TIMEOUT": "60",
            "PIP_REQUIRE_VIRTUALENV": "1",
            "PIP_TARGET": "/opt/packages",
            "UV_PYTHON": "3.13",
        }
    )

    assert set(told.variables) == {
        "PIP_INDEX_URL",
        "UV_INDEX_INNER_PASSWORD",
        "PIP_DEFAULT_TIMEOUT",
    }


def test_files_of_this_machine_are_not_told():
    told = reach({"PIP_FIND_LINKS": "/opt/wheels", "UV_FIND_LINKS": "https://a/b file:///c"})

    assert not told


def test_proxies_are_told_to_the_builder_itself():
    told = reach({"https_proxy": "http://proxy:3128", "NO_PROXY": "inner"})

    assert told.proxies == {"https_proxy": "http://proxy:3128", "NO_PROXY": "inner"}
    assert not told


def test_certificates_are_found_and_have_a_place_in_the_build(tmp_path):
    bundle = tmp_path / "bundle.crt"
    bundle.write_text("certificate")

    told = reach({"PIP_CERT": "", "SSL_CERT_FILE": str(bundle), "CURL_CA_BUNDLE": "/elsewhere"})

    assert told.certificates == bundle
    assert set(told.variables.values()) == {"/run/secrets/cloudfn-certificates"}
    assert "PIP_CERT" in told.variables


def test_certificates_that_are_not_there_are_left_out(tmp_path):
    told = reach({"SSL_CERT_FILE": str(tmp_path / "none.crt")})

    assert told.certificates is None
    assert not told


def test_who_one_is_to_an_index_is_hidden_and_where_it_is_is_not():
    told = reach(
        {
            "PIP_EXTRA_INDEX_URL": "https://ada:s3cret@a.example/x https://b.example/",
            "UV_INDEX_INNER_PASSWORD": "hidden",
            "HTTPS_PROXY": "http://bob:pw@proxy:3128",
        }
    )

    assert told.hidden == {"ada:s3cret", "hidden", "bob:pw"}
