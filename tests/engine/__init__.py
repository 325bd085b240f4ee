import pytest

pytest.register_assert_rewrite("tests.engine.bench", "tests.engine.conformance", "tests.engine.yard")
