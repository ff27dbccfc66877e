{% test share_at_most(model, condition, max_share) %}
    select
        count_if({{ condition }}) as rows_found,
        count(*) as all_rows
    from {{ model }}
    having count_if({{ condition }}) > {{ max_share }} * count(*)
{% endtest %}
