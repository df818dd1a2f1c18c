"""What people type by mistake, and what nobody types."""

from typing import Any

from hypothesis import strategies as st

WORDS = [
    *("", " ", "abc", "True", "false", "null", "None", "~", "nan", "inf", "-inf", ".nan", "1e-9", "1e400", "-1e300"),
    *("1_000", "0x10", "08", "[]", "[1]", "[1, 2", "[a, b]", "{}", "{a: b}", "{a", "a: b", ":", "- 1", "'", '"'),
    *(
        "!!python/object/apply:os.system [touch ran]",
        "&a [*a]",
        "é",
        "漢",
        "\\",
        "/",
        "/dev/null",
        "../..",
        "~nobody/x",
    ),
    *("x.yaml", "torch.nn.Linear", "os.system", "FC", "SGD", "a.b.c", "1,2", "%s", "$HOME", "--help", "class_path: FC"),
    *("{class_path: FC}", "{class_path: 3}", "{class_path: FC, init_args: 3}", "{init_args: {}}", "\t", "\x00"),
]

words = st.sampled_from(WORDS)
numbers = st.integers(-3, 12).map(str) | st.floats(-2, 3).map(str) | st.sampled_from(["0", "1", "-1", "0.5", "1.5"])
truths = st.sampled_from(["true", "false"])
values = st.one_of(words, numbers, numbers, truths, st.text(max_size=6))
"""For an argument that loops over what it is given, where something huge is only slow."""

huge_values = values | st.sampled_from(["99999999999999999999", "1000000000000000000", "-9223372036854775809"])


def paths(tree: Any) -> list[tuple[Any, ...]]:
    """The places of everything within dicts and lists in each other."""
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    return [(key, *rest) for key in keys for rest in [(), *paths(tree[key])]]
