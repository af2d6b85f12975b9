"""Tests that any JSON keeps its meaning when it is parsed and written."""

import json

from hypothesis import given
from hypothesis import strategies as st

from gyoza_domain.http.json_text import dump, parse
from tests.properties.strategies import json_values, spelled


@given(json_values, st.booleans(), st.sampled_from([None, 0, 3]))
def test_a_document_means_the_same_after_it_was_kept(value: object, ensure_ascii: bool, indent: int | None) -> None:
    sent = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent).encode()
    kept = dump(parse(sent))
    assert spelled(json.loads(kept)) == spelled(value)


@given(json_values)
def test_a_kept_document_is_kept_as_it_is(value: object) -> None:
    kept = dump(value)
    assert dump(parse(kept.encode())) == kept
