{{ config(
    materialized='incremental',
    incremental_strategy='replace_links',
    unique_key='left_record_key',
    indexes=[{'columns': ['left_record_key']}, {'columns': ['right_record_key']}],
    post_hook="drop table if exists {{ link_verdicts() }}",
) }}

-- depends_on: {{ ref('int_identity__people') }}
-- depends_on: {{ ref('int_batch__changed_records') }}
-- Settled while the people were: both come from one look at the same pairs.
with verdicts as (
    select * from {{ link_verdicts() }}
),

pairs as (
    select * from {{ ref('int_identity__matches') }}
    {% if is_incremental() %}
        where left_record_key in (select verdicts.left_record_key from verdicts)
        {{ looked_up() }}
    {% endif %}
)

select
    pairs.left_record_key,
    pairs.right_record_key,
    pairs.match_weight,
    pairs.match_probability,
    pairs.waterfall,
    pairs.parameters_version,
    verdicts.refused_reason is null as is_accepted,
    verdicts.refused_reason,
from verdicts
inner join pairs
    on verdicts.left_record_key = pairs.left_record_key and verdicts.right_record_key = pairs.right_record_key
