{{ config(
    materialized='incremental',
    incremental_strategy='replace_pairs',
    unique_key='left_record_key',
    indexes=[{'columns': ['left_record_key']}, {'columns': ['right_record_key']}],
    pre_hook="{{ gather_scored_records() }}",
) }}

-- depends_on: {{ ref('int_batch__changed_records') }}
-- depends_on: {{ ref('int_identity__features') }}
-- depends_on: {{ ref('int_identity__blocks') }}
-- depends_on: {{ source('raw_policies', 'identity_matching') }}
-- depends_on: {{ source('raw_policies', 'identity_matching_columns') }}
-- depends_on: {{ source('raw_policies', 'identity_matching_frequencies') }}
-- depends_on: {{ source('raw_policies', 'identity_matching_levels') }}
{% set settings = matching_settings() %}
{% set columns = matching_columns() %}
{% set levels = matching_levels() %}
{% set comparisons = levels | groupby('comparison_position') %}
{% set frequency_columns = levels | map(attribute='term_frequency_column') | select('string') | unique | list %}

{% if not settings %}
select
    cast(null as ubigint) as left_record_key,
    cast(null as ubigint) as right_record_key,
    cast(null as double) as match_weight,
    cast(null as double) as match_probability,
    cast(null as varchar) as decision,
    cast(null as varchar) as waterfall,
    cast(null as varchar) as parameters_version,
where false
{% else %}
-- Splink's arithmetic (Fellegi and Sunter): of each comparison the first level that fits adds log2(m / u); agreement on a value known to be rarer
-- or commoner than most adds the difference. Levels, weights and frequencies are rows of the trained policy.
with scored_records as (
    {% if is_incremental() %}
    select record_key from {{ this.schema }}.records_scored
    {% else %}
    select record_key from {{ ref('int_identity__features') }}
    {% endif %}
),

own_blocks as (
    select * from {{ ref('int_identity__blocks') }}
    {% if is_incremental() %}
        where record_key in (select scored_records.record_key from scored_records)
        {{ looked_up() }}
    {% endif %}
),

blocks as (
    select * from {{ ref('int_identity__blocks') }}
    {% if is_incremental() %}
        where block_key in (select own_blocks.block_key from own_blocks)
        {{ looked_up() }}
    {% endif %}
),

telling_blocks as (
    select block_key from blocks
    group by block_key
    having count(*) between 2 and {{ settings['max_block'] }}
),

candidates as (
    select distinct
        least(own_blocks.record_key, blocks.record_key) as left_record_key,
        greatest(own_blocks.record_key, blocks.record_key) as right_record_key,
    from own_blocks
    inner join blocks on own_blocks.block_key = blocks.block_key
    where
        own_blocks.record_key <> blocks.record_key
        and own_blocks.block_key in (select telling_blocks.block_key from telling_blocks)
),

features as (
    select * from {{ ref('int_identity__features') }}
    {% if is_incremental() %}
        where
            record_key in (
                select unnest([candidates.left_record_key, candidates.right_record_key]) from candidates
            )
        {{ looked_up() }}
    {% endif %}
),

compared as (
    select
        record_key,
        {% for column in columns %}
        features['{{ column['column_name'] }}'] as {{ column['column_name'] }},
        {% endfor %}
    from features
),

{% for column in frequency_columns %}
frequencies_{{ loop.index }} as (
    select
        value,
        frequency,
    from {{ source('raw_policies', 'identity_matching_frequencies') }}
    where is_active and column_name = '{{ column }}'
),

{% endfor %}
sides as (
    select
        candidates.left_record_key,
        candidates.right_record_key,
        {% for column in columns %}
        left_side.{{ column['column_name'] }} as {{ column['column_name'] }}_l,
        right_side.{{ column['column_name'] }} as {{ column['column_name'] }}_r,
        {% endfor %}
    from candidates
    inner join compared as left_side on candidates.left_record_key = left_side.record_key
    inner join compared as right_side on candidates.right_record_key = right_side.record_key
),

agreed as (
    select
        *,
        {% for _, own in comparisons %}
        case
            {% for level in own %}
            {% if level['condition'] != 'ELSE' %}
            when {{ level['condition'] }} then {{ loop.index }}
            {% else %}
            else {{ loop.index }}
            {% endif %}
            {% endfor %}
        end as level_{{ loop.index }},
        {% endfor %}
    from sides
),

weighed as (
    select
        agreed.left_record_key,
        agreed.right_record_key,
        {% for _, own in comparisons %}
        level_{{ loop.index }},
        {% set comparison_number = loop.index %}
        case level_{{ loop.index }}
            {% for level in own %}
            when {{ loop.index }} then cast({{ level['match_weight'] }} as double)
            {% endfor %}
        end as weight_{{ loop.index }},
        cast(0 as double)
        {% for level in own if level['term_frequency_column'] %}
        + case
            when level_{{ comparison_number }} = {{ own.index(level) + 1 }}
                then coalesce(
                    log2({{ level['u_probability'] }} / frequencies_{{ frequency_columns.index(level['term_frequency_column']) + 1 }}.frequency), 0
                )
            else 0
        end
        {% endfor %}
        as rarity_{{ loop.index }},
        {% endfor %}
    from agreed
    {% for column in frequency_columns %}
    left join frequencies_{{ loop.index }} on agreed.{{ column }}_l = frequencies_{{ loop.index }}.value
    {% endfor %}
),

summed as (
    select
        *,
        cast({{ settings['prior_weight'] }} as double)
        {% for _, own in comparisons %}
        + weight_{{ loop.index }} + rarity_{{ loop.index }}
        {% endfor %}
        as match_weight,
    from weighed
)

select
    left_record_key,
    right_record_key,
    match_weight,
    1 - 1 / (1 + pow(2, match_weight)) as match_probability,
    case
        when match_weight >= {{ settings['link_weight'] }} then 'link'
        when match_weight >= {{ settings['review_weight'] }} then 'review'
        else 'evidence'
    end as decision,
    -- What each comparison added, for people; the prior is where the sum starts.
    cast(to_json([
        {'comparison': 'prior', 'level': 'any two records', 'match_weight': round(cast({{ settings['prior_weight'] }} as double), 4), 'rarity': 0.0},
        {% for _, own in comparisons %}
        {
            'comparison': '{{ own[0]['comparison'] }}',
            'level': (
                case level_{{ loop.index }}
                    {% for level in own %}
                    when {{ loop.index }} then '{{ level['label'] | replace("'", "''") }}'
                    {% endfor %}
                end
            ),
            'match_weight': round(weight_{{ loop.index }}, 4),
            'rarity': round(rarity_{{ loop.index }}, 4)
        },
        {% endfor %}
    ]) as varchar) as waterfall,
    '{{ settings['parameters_version'] }}' as parameters_version,
from summed
where match_weight >= {{ settings['keep_weight'] }}
{% endif %}
