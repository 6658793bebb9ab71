"""Whatever JSON a client sends, reading it ends in a call or in a deliberate refusal."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serve.fake import CONTEXT, ByteProcessor

from mmspec.core.errors import BadRequestError
from mmspec.serve.chat import ROUTE as CHAT
from mmspec.serve.completions import ROUTE as COMPLETIONS
from mmspec.serve.errors import HttpError, from_exception
from mmspec.serve.protocol import REFUSED, ChatAsk, CompletionAsk
from mmspec.serve.read import read
from mmspec.serve.service import Service

SERVICE = Service(
    bridge=SimpleNamespace(), processor=ByteProcessor(), metrics=None, max_context=CONTEXT
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 300),
    st.sampled_from([2**63, -(2**70), 10**40, 0.5, -1.5, 1e308, "", "5", "a" * 300, "stop"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["type", "text", "role", "content", "url", "enabled", "5", "x"]),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)
parts = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "image", "file", "input_text"])},
    optional={"text": values, "image_url": values, "image": values},
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "tool", "assistant"])},
        optional={"content": st.one_of(values, st.lists(parts, max_size=3)), "tool_calls": values},
    ),
    max_size=3,
)


def bodies(kind, required):
    """At most three fields at a time, so that most bodies get far."""
    names = [name for name in kind.__struct_fields__ if name != "model" and name not in required]
    extra = st.dictionaries(st.sampled_from([*names, *REFUSED, "foo", "x\ny"]), values, max_size=3)
    model = st.sampled_from(["fake/model"] * 4 + ["other", 5])
    base = st.fixed_dictionaries({"model": model, **required})
    return st.builds(lambda fields, more: more | fields, base, extra)


@pytest.mark.parametrize(
    ("route", "kind", "required"),
    [
        (CHAT, ChatAsk, {"messages": st.one_of(messages, messages, values)}),
        (COMPLETIONS, CompletionAsk, {"prompt": st.one_of(st.just("hi"), values)}),
    ],
    ids=["chat", "completions"],
)
def test_any_body(route, kind, required):
    @given(bodies(kind, required))
    @settings(max_examples=300, deadline=None)
    def check(body):
        try:
            call, wording = read(route, SERVICE, json.dumps(body).encode(), "id")
        except (BadRequestError, HttpError) as error:
            known = from_exception(error)
            assert 400 <= known.status < 500
            assert len(known.body.encode()) < 2000
        else:
            assert call.requests[0].sampling.n >= 1
            assert all(name.isprintable() for name in call.ignored)
            assert wording.whole_object

    check()
