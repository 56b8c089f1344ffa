"""The prepared data set that later steps work with: chosen once, kept from page to page and in the address."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

_USUAL = "reviews-en"
_DATA = "_data"
_QUERY = "data"


def current_data() -> str | None:
    """Return the id of the prepared set that was chosen in this session, else in the address; None where none is.

    A set that is no longer on this machine counts as none. Open it with `llmkit.tune.data.prepared.open_prepared`.
    """
    from llmkit.tune.data.errors import DataError
    from llmkit.tune.data.prepared import about_prepared

    asked = st.session_state.get(_DATA) or st.query_params.get(_QUERY)
    if not asked:
        return None
    try:
        about_prepared(asked)
    except DataError:
        return None
    choose_data(str(asked))  # a page turn may have lost it from the address
    return str(asked)


def labelled_here() -> tuple[str, ...]:
    """Return the labelled data on this machine: data boxes and prepared sets."""
    from llmkit.tune.labelled import sources_here

    return sources_here()


def usual_data(here: Sequence[str]) -> int:
    """Return which of the labelled data to begin with: the learner's own choice, else the English reviews."""
    return next((here.index(one) for one in (current_data(), _USUAL) if one in here), 0)


def choose_data(set_id: str | None) -> None:
    """Keep the choice, in the session and in the address; None forgets it."""
    if set_id is None:
        st.session_state.pop(_DATA, None)
        st.query_params.pop(_QUERY, None)
        return
    st.session_state[_DATA] = set_id
    if st.query_params.get(_QUERY) != set_id:
        st.query_params[_QUERY] = set_id
