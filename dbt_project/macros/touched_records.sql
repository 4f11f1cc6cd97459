{# Records whose people a batch touches: what it says something about, what has come true since the last run, what has an activity of a
   campaign that changed, and what shares an address a consent was stated for. Gathered into a table before the people are asked for: of a
   table it is known how few rows it has, and then the index is asked for them. #}
{% macro gather_touched_records() %}
    {% if not execute %}{{ return('') }}{% endif %}
    {% do run_query('create or replace table ' ~ touched_records() ~ ' as ' ~ records_touched_by_batch()) %}
    {% do run_query('create or replace table ' ~ left_records() ~ ' as ' ~ records_left_by_batch()) %}
{% endmacro %}

{% macro drop_touched_records() %}
    {% if execute %}
        {% do run_query('drop table if exists ' ~ touched_records()) %}
        {% do run_query('drop table if exists ' ~ left_records()) %}
    {% endif %}
{% endmacro %}

{% macro touched_records() -%}
    intermediate.touched_records
{%- endmacro %}

{# Records that may have been somebody else's before the batch, or whose activity has gone to another record. #}
{% macro left_records() -%}
    intermediate.left_records
{%- endmacro %}

{% macro records_left_by_batch() %}
    select record_key from {{ ref('int_batch__changed_records') }}
    where is_changed
    union
    select former_record_key from {{ ref('int_activities__unioned') }}
    where {{ is_new() }} and former_record_key is not null
{% endmacro %}

{% macro records_touched_by_batch() %}
    with consents_new as (
        select
            record_key,
            record_type,
        from {{ ref('int_consents__versions') }}
        where {{ is_new() }}
        {{ looked_up() }}
    ),

    consents_come as (
        select
            record_key,
            record_type,
        from {{ ref('int_consents__versions') }}
        where {{ has_come('occurred_at') }}
        {{ looked_up() }}
    ),

    consents_expired as (
        select record_key from {{ ref('int_consents__versions') }}
        where {{ has_come('expires_at') }}
        {{ looked_up() }}
    ),

    -- A no that is stated for an address counts for everybody who has it, also where the address links nobody.
    addresses as (
        select
            identifier_key,
            identifier_type,
        from {{ ref('int_identity__identifiers') }}
        where record_key in (
            select record_key from consents_new
            where record_type = 'email'
            union
            select record_key from consents_come
            where record_type = 'email'
        )
        {{ looked_up() }}
    ),

    campaigns_changed as (
        select distinct record_id from {{ ref('int_campaigns__unioned') }}
        where {{ is_new() }} or {{ has_come('occurred_at') }}
    )

    select record_key from {{ ref('int_batch__changed_records') }}
    where is_changed
    union
    select record_key from {{ ref('int_meetings__no_shows') }}
    where {{ is_new() }} or {{ has_come('occurred_at') }}
    union
    select record_key from consents_come
    union
    select record_key from consents_expired
    union
    select record_key from {{ ref('int_activities__unioned') }}
    where {{ has_come('occurred_at') }}
    union
    select record_key from {{ ref('int_activities__unioned') }}
    where campaign_id in (select record_id from campaigns_changed)
    union
    select record_key from {{ ref('int_identity__identifiers') }}
    where identifier_key in (select identifier_key from addresses where identifier_type = 'email')
{% endmacro %}

{# Of a batch only the rows of the records it changed, found by the index (see `looked_up`); the model names int_batch__changed_records in a
   depends_on comment, as nothing is asked of it in a rebuild. #}
{% macro of_changed_records() -%}
    {%- if is_incremental() -%}
    where record_key in (select record_key from {{ ref('int_batch__changed_records') }} where is_changed)
    {{ looked_up() }}
    {%- endif -%}
{%- endmacro %}
