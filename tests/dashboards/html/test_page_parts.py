"""The header that every page has."""

from dashboards.html import page_parts, tag


def test_a_long_fact_has_a_line_of_its_own() -> None:
    facts = page_parts.facts_list([("Profile", "laptop"), ("Learned", "w" * 200), ("Metric", tag("code", "m" * 20))])
    assert facts.count('class="wide"') == 1
    assert '<div class="wide"><dt>Learned</dt>' in facts


def test_texts_of_the_header_are_escaped() -> None:
    top = page_parts.header("<b>", "1 < 2", [("<i>", "<u>")], page_parts.answer_box(tag("p", "<s>")), tag("p", "<q>"))
    for word in ("<b>", "1 < 2", "<i>", "<u>", "<s>", "<q>"):
        assert word not in top
    assert top.startswith("<header>")
