{#
    Features are kept, cut-off by cut-off, for as long as nothing that goes into them changes: what the cut-off sees (the
    input_fingerprint of `inputs`), the model's SQL, and the variables that stand in it. One fingerprint covers all three and
    stands in every row, so what was built and from what is one write: a run that was killed leaves nothing that a
    later run would take for built.
#}
{% macro built_fingerprint(model, key, variables=[]) -%}
    {%- set values = [] -%}
    {%- for name in variables -%}{%- do values.append(name ~ '=' ~ var(name)) -%}{%- endfor -%}
    md5(concat_ws(' ', inputs.{{ key }}, inputs.input_fingerprint, '{{ local_md5(model.raw_code ~ values | join(" ")) }}'))
{%- endmacro %}

{# Before what is missing is built: takes away what is of another fingerprint now, and what is no cut-off any more. #}
{% macro drop_stale(model, inputs, key, variables=[]) -%}
    {%- if is_incremental() -%}
        delete from {{ this }}
        where input_fingerprint not in (
            select {{ built_fingerprint(model, key, variables) }}
            from {{ inputs }} as inputs
        )
    {%- endif -%}
{%- endmacro %}
