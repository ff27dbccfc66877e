{#
    No required column has a NULL, and every column but those that may be empty has a value: an empty table fails. Where one of the
    optional raw tables that it is made of did not land (unless_absent), columns may be empty, and so may the table; a table that may have
    no rows otherwise (may_have_no_rows) is reconciled by another test.
#}
{% test filled(model, required, may_be_empty=[], unless_absent=[], may_have_no_rows=false) %}
    {%- set columns = adapter.get_columns_in_relation(model) | map(attribute='name') | list if execute else required -%}
    with counts as (
        select
            count(*) as all_rows
            {%- for column in columns %},
            count({{ adapter.quote(column) }}) as {{ adapter.quote(column) }}
            {%- endfor %}
        from {{ model }}
    )

    {% for column in required %}
        select
            '{{ column }}' as column_name,
            all_rows - {{ adapter.quote(column) }} as null_rows
        from counts
        where {{ adapter.quote(column) }} < all_rows
        union all
    {% endfor %}
    {% for column in columns if column not in may_be_empty %}
        select
            '{{ column }} (no value at all)' as column_name,
            all_rows as null_rows
        from counts
        where {{ adapter.quote(column) }} = 0
            {%- if may_have_no_rows %}
            and all_rows > 0
            {%- endif %}
            {%- for table in unless_absent %}
            and {{ has_landed(table) }}
            {%- endfor %}
        {% if not loop.last %}union all{% endif %}
    {% endfor %}
{% endtest %}
