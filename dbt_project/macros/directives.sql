{# The merges and unmerges told of pairs with one of `records` (SQL that selects record_key; none: of all pairs), as CTEs of which the last is
   `placed`: whichever of the two was named first, a pair is left and right. #}
{% macro directives_placed(records=none) %}
    {% if records %}
    of_survivors as (
        select * from {{ ref('int_identity__merges_unioned') }}
        where surviving_key in ({{ records }})
        {{ looked_up() }}
    ),

    of_merged as (
        select * from {{ ref('int_identity__merges_unioned') }}
        where merged_key in ({{ records }})
        {{ looked_up() }}
    ),

    told as (
        select * from of_survivors
        union
        select * from of_merged
    ),
    {% else %}
    told as (
        select * from {{ ref('int_identity__merges_unioned') }}
    ),
    {% endif %}

    placed as (
        select
            *,
            least(surviving_key, merged_key) as left_record_key,
            greatest(surviving_key, merged_key) as right_record_key,
            row(occurred_at, received_at, seq) as place,
        from told
        where surviving_key <> merged_key
    )
{% endmacro %}

{# What counts of them at every time: a row per pair and time, from when a word was received until the next one was. The newest word counts,
   whoever said it; a system's unmerge takes its merge back, and only a person's own holds the two apart. #}
{% macro directives_over_time(records=none) %}
    with {{ directives_placed(records) }},

    by_then as (
        select distinct
            left_record_key,
            right_record_key,
            received_at as known_from,
            max(place) filter (where not is_unmerge) over until_then as merge_place,
            max(place) filter (where is_unmerge) over until_then as unmerge_place,
            max(place) filter (where is_unmerge and system = 'handoff') over until_then as split_place,
            arg_max(row(surviving_key, system, merged_id, occurred_at), place) filter (where not is_unmerge) over until_then as merge_told,
        from placed
        window until_then as (
            partition by left_record_key, right_record_key
            order by received_at
        )
    )

    select
        left_record_key,
        right_record_key,
        known_from,
        lead(known_from) over (
            partition by left_record_key, right_record_key
            order by known_from
        ) as known_to,
        merge_told[1] as surviving_key,
        case when merge_told[1] = left_record_key then right_record_key else left_record_key end as merged_key,
        merge_told[2] as system,
        merge_told[3] as merged_id,
        merge_told[4] as merged_at,
        merge_place is not null and coalesce(merge_place > unmerge_place, true) as is_merged,
        split_place is not null and coalesce(split_place > merge_place, true) as is_apart,
    from by_then
{% endmacro %}

{# What counts of them now: a row per pair. #}
{% macro directives_in_force(records=none) %}
    select * from ({{ directives_over_time(records) }})
    where known_to is null
{% endmacro %}

{# Whether a person has ever said of two records that they are two. #}
{% macro has_splits() %}
    {% if not execute or not load_relation(ref('int_identity__merges_unioned')) %}{{ return(false) }}{% endif %}
    {{ return(has_rows('select 1 from ' ~ ref('int_identity__merges_unioned') ~ " where is_unmerge and system = 'handoff'")) }}
{% endmacro %}

{# Pairs a person has said are two. #}
{% macro records_held_apart(records=none) %}
    select
        left_record_key,
        right_record_key,
    from ({{ directives_in_force(records) }})
    where is_apart
{% endmacro %}

{# Whose record a directive names: what Handoff itself was told names it as system:record_id, of whatever system. #}
{% macro named_system(system, record_id) -%}
    case when {{ system }} = 'handoff' then split_part({{ record_id }}, ':', 1) else {{ system }} end
{%- endmacro %}

{% macro named_id(system, record_id) -%}
    case when {{ system }} = 'handoff' then substr({{ record_id }}, strpos({{ record_id }}, ':') + 1) else {{ record_id }} end
{%- endmacro %}

{# Key of the record a directive names. #}
{% macro named_record_key(system, record_id) -%}
    {%- set whose = '(' ~ named_system(system, record_id) ~ ')' -%}
    {%- set which = '(' ~ named_id(system, record_id) ~ ')' -%}
    {{ record_key(whose, '(' ~ record_type_of(whose, which) ~ ')', which) }}
{%- endmacro %}
