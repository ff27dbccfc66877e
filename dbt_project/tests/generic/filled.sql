{#
    No required column has a NULL, and every column but those that may be empty has a value: an empty table fails. Where one of the
    optional raw tables that it is made of did not land (unless_absent), columns may be empty, and so may the table; a table that may have
    no rows otherwise (may_have_no_rows) is reconciled by another test. Column by column, as what the engine keeps of each tells nearly all,
    and rows are hardly read.
#}
{% test filled(model, required, may_be_empty=[], unless_absent=[], may_have_no_rows=false) %}
    {%- set columns = adapter.get_columns_in_relation(model) | map(attribute='name') | list if execute else required -%}
    {% for column in required %}
        select
            '{{ column }}' as column_name,
            count(*) as null_rows
        from {{ model }}
        where {{ adapter.quote(column) }} is null
        having count(*) > 0
        union all
    {% endfor %}
    {% for column in columns if column not in may_be_empty %}
        select
            '{{ column }} (no value at all)' as column_name,
            (select count(*) from {{ model }}) as null_rows
        where
            not exists (select 1 from {{ model }} where {{ adapter.quote(column) }} is not null)
            {%- if may_have_no_rows %}
            and exists (select 1 from {{ model }})
            {%- endif %}
            {%- for table in unless_absent %}
            and {{ has_landed(table) }}
            {%- endfor %}
        {% if not loop.last %}union all{% endif %}
    {% endfor %}
{% endtest %}
