"""Text stays text: in elements, in attributes, and inside the JSON that the figures are drawn from."""

import json

from dashboards.html import Markup, data_block, table_element, tag

EVIL = '</script><b onclick="x">\'&'


def test_children_and_attributes_are_escaped_once():
    text = tag("p", EVIL, tag("b", "&"), None, title=EVIL, class_=None)
    assert text.count("<") == 4
    assert "&amp;amp;" not in text
    assert 'title="&lt;/script&gt;&lt;b onclick=&#34;x&#34;&gt;&#39;&amp;"' in text


def test_a_data_block_ends_where_it_should_and_reads_back():
    text = data_block("plot", json.dumps({"name": EVIL, "comment": "<!--"}))
    assert text.count("<") == 2
    assert json.loads(text.partition(">")[2].rpartition("<")[0]) == {"name": EVIL, "comment": "<!--"}


def test_tables_have_headers_for_rows_and_columns():
    text = table_element(["a", "b"], [["one", "1"], ["two", tag("td", "2", class_="number")]], "What it shows.")
    assert text.count('scope="col"') == 2
    assert text.count('scope="row"') == 2
    assert '<td class="number">2</td>' in text
    assert isinstance(text, Markup)
