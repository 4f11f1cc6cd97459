{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key='person_id',
    indexes=[{'columns': ['person_id']}],
    post_hook="{{ keep_accounts_contested() }}",
) }}

-- depends_on: {{ ref('int_batch__touched_people') }}
-- depends_on: {{ source('raw_policies', 'accounts_choices') }}
{% set criteria = account_choices('tie_break') %}

with records as (
    select
        record_key,
        person_id,
    from {{ ref('int_identity__people') }}
    where {{ where_touched() }}
    {{ looked_up() }}
),

own_keys as (
    select * from {{ ref('int_contacts__account_keys') }}
    {% if is_incremental() %}
        where record_key in (select records.record_key from records)
    {% endif %}
    {{ looked_up() }}
),

known_keys as (
    select * from {{ ref('int_accounts__keys') }}
    {% if is_incremental() %}
        where key_hash in (select own_keys.key_hash from own_keys)
    {% endif %}
    {{ looked_up() }}
),

account_keys as (
    select * from known_keys
    where is_current
),

companies as (
    select * from {{ ref('int_accounts__grouped') }}
),

matches as (
    select * from {{ source('raw_policies', 'accounts_choices') }}
    where is_active and choice = 'match'
),

trusts as (
    select * from {{ source('raw_policies', 'identity_system_priority') }}
    where is_active
),

found as (
    select
        records.person_id,
        account_keys.account_id,
        own_keys.evidence,
        own_keys.evidence_value,
        matches.priority as evidence_rank,
        case when own_keys.evidence = 'stated' and not own_keys.is_deleted then own_keys.stated_at end as stated_at,
        case
            when own_keys.evidence = 'stated' then coalesce(trusts.priority, 1000) + case when own_keys.is_deleted then 10000 else 0 end
        end as trust,
    from records
    inner join own_keys on records.record_key = own_keys.record_key
    inner join matches on own_keys.evidence = matches.name
    inner join account_keys on own_keys.key_hash = account_keys.key_hash
    left join trusts on own_keys.system = trusts.system
),

candidates as (
    select
        person_id,
        account_id,
        min(evidence_rank) as evidence_rank,
        arg_min(evidence, row(evidence_rank, evidence_value)) as evidence,
        arg_min(evidence_value, row(evidence_rank, evidence_value)) as evidence_value,
        max(stated_at) as stated_at,
        min(trust) as trust,
    from found
    group by person_id, account_id
),

-- A company nobody here keeps a record of comes after all that somebody does, whatever found it.
placed as (
    select
        candidates.*,
        companies.has_own_record,
        companies.has_open_opportunity,
        companies.is_customer,
        companies.has_owner,
        companies.changed_at,
        companies.first_received_at,
        rank() over (
            partition by candidates.person_id
            order by companies.has_own_record desc, candidates.evidence_rank asc
        ) = 1 as is_best_found,
        count(*) over (partition by candidates.person_id) as candidate_count,
    from candidates
    inner join companies on candidates.account_id = companies.account_id
),

level as (
    select
        *,
        is_best_found and count(*) filter (where is_best_found) over (partition by person_id) > 1 as is_contested,
    from placed
),

-- How many name an account is asked only where it may decide.
contested_keys as (
    select
        stated.account_id,
        stated.key_hash,
    from {{ ref('int_accounts__keys') }} as stated
    where
        stated.evidence = 'stated'
        and stated.account_id in (
            select level.account_id from level
            where level.is_contested
        )
),

naming as (
    select * from {{ ref('int_contacts__account_keys') }}
    where key_hash in (select contested_keys.key_hash from contested_keys)
    {{ looked_up() }}
),

contact_counts as (
    select
        contested_keys.account_id,
        count(distinct naming.record_key) as contact_count,
    from contested_keys
    inner join naming on contested_keys.key_hash = naming.key_hash
    where not naming.is_deleted
    group by contested_keys.account_id
),

compared as (
    select
        level.* exclude (stated_at, trust, has_open_opportunity, is_customer, has_owner, changed_at, first_received_at),
        -- What can change without the person's being touched counts for those alone who are touched by it.
        case
            when level.is_contested
                then [
                    {% for criterion in criteria %}
                    {{ tie_break_value(criterion) }},
                    {% endfor %}
                    0
                ]
        end as tie_breaks,
    from level
    left join contact_counts on level.account_id = contact_counts.account_id
),

ordered as (
    select
        *,
        row_number() over best_first as rank,
        lead(has_own_record) over best_first as next_has_own_record,
        lead(evidence_rank) over best_first as next_evidence_rank,
        lead(tie_breaks) over best_first as next_tie_breaks,
    from compared
    window best_first as (
        partition by person_id
        order by has_own_record desc, evidence_rank asc, tie_breaks desc, account_id asc
    )
)

select
    person_id,
    arg_min(account_id, rank) as account_id,
    arg_min(evidence, rank) as evidence,
    arg_min(evidence_value, rank) as evidence_value,
    arg_min(
        case
            when candidate_count = 1 then 'only_candidate'
            when has_own_record <> next_has_own_record then 'own_record'
            when evidence_rank <> next_evidence_rank then 'evidence'
            {% for criterion in criteria %}
            when tie_breaks[{{ loop.index }}] <> next_tie_breaks[{{ loop.index }}] then '{{ criterion }}'
            {% endfor %}
            else 'account_id'
        end,
        rank
    ) as decided_by,
    count(*) as candidate_count,
    coalesce(list(account_id order by rank) filter (where is_contested), []) as contested_account_ids,
    cast(
        to_json(
            list(
                {
                    'account_id': account_id,
                    'evidence': evidence,
                    'evidence_value': evidence_value,
                    'tie_breaks': tie_breaks
                }
                order by rank
            )
        ) as varchar
    ) as candidates,
from ordered
group by person_id
