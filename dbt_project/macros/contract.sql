{# What staging of the contract does alike in every table: reading values that may be text, folding, asking what landed. #}

{# Whether a value that is there cannot be read as a type. #}
{% macro cannot_be_read(column, data_type) -%}
    {{ column }} is not null and try_cast({{ column }} as {{ data_type }}) is null
{%- endmacro %}

{# Exact copies of a row count once. A rejected row stays alone, so that the quarantine names its own line. #}
{% macro folded(rows, columns) -%}
    select
        {{ columns | join(',\n        ') }},
        reject_reason,
        min(_source_file) as _source_file,
        min(_row_number) as _row_number,
        count(*) as copies
    from {{ rows }}
    group by
        {{ columns | join(', ') }},
        reject_reason,
        case when reject_reason is not null then concat(_source_file, ' ', _row_number) end
{%- endmacro %}

{# The files in force of a table, by which its typed rows are kept. #}
{% macro files_of(table) -%}
    (
        select *
        from {{ ref('base_contract__files') }}
        where table_name = '{{ table }}'
    )
{%- endmacro %}

{#
    Names the files to be read before they are: with the names as constants the engine leaves all other files alone, where a join would
    clean the text of every one first. A variable is of one connection, and a model has one of its own.
#}
{% macro name_missing_files(model, files) -%}
    {%- if is_incremental() -%}
        set variable missing_files = (
            select coalesce(list(missing_files._source_file), [])
            from ({{ missing(model, files, '_source_file') }}) as missing_files
        )
    {%- endif -%}
{%- endmacro %}

{# The condition for it; all are read where a table is built from nothing. #}
{% macro of_missing_files(rows) -%}
    {%- if is_incremental() -%}
        where list_contains(getvariable('missing_files'), {{ rows }}._source_file)
    {%- endif -%}
{%- endmacro %}

{# Orders that their lines can belong to, each with the day that its lines are kept by. #}
{% macro accepted_orders() -%}
    select
        order_id,
        max(ordered_at::date) as delivered_date
    from {{ ref('base_contract__typed_orders') }}
    where reject_reason is null
    group by order_id
{%- endmacro %}

{# Whether an optional table of the contract landed. What refers to one that did not is kept, and used by nothing. #}
{% macro has_landed(table) -%}
    (select count(*) from {{ source('control', 'absent_tables') }} as absent_tables where absent_tables.table_name = '{{ table }}') = 0
{%- endmacro %}

{# Of several rows that describe one customer: the first value that is told, in the order of the source's own keys. #}
{% macro first_told(column) -%}
    min_by({{ column }}, source_customer_id) filter (where {{ column }} is not null)
{%- endmacro %}

{# The bands of the sample, so that what is learned on one reads the other; by year alone, so at most a year off. #}
{% macro age_band(age) -%}
    case
        when {{ age }} < 19 then '0-18'
        when {{ age }} < 25 then '19-24'
        when {{ age }} < 35 then '25-34'
        when {{ age }} < 45 then '35-44'
        when {{ age }} < 55 then '45-54'
        when {{ age }} < 65 then '55-64'
        when {{ age }} < 120 then '65+'
    end
{%- endmacro %}
