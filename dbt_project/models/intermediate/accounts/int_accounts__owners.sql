-- Whose an account was in the CRM, as it was known, from when on; of several records of it the most trusted that has an owner.
with stated as (
    {{ union_by_name([
        ref('stg_events__accounts'),
        ref('stg_hubspot__companies'),
        ref('stg_salesforce__accounts'),
    ]) }}
),

connected as (
    select * from {{ ref('int_reps__connected') }}
),

ordered as (
    select
        system,
        record_id,
        owner_id,
        is_deleted,
        is_full_state,
        -- What was heard when the CRM was connected was so before.
        case
            when received_at <= connected.connected_until then occurred_at
            else {{ known_since() }}
        end as known_at,
        row_number() over (
            partition by system, record_id
            order by occurred_at, received_at, coalesce(seq, 0)
        ) as place,
    from stated
    cross join connected
    where occurred_at <= {{ as_of() }}
),

filled as (
    select
        system,
        record_id,
        known_at,
        place,
        case
            when is_deleted then null
            when is_full_state then owner_id
            else last_value(owner_id ignore nulls) over (
                partition by system, record_id
                order by place
                rows between unbounded preceding and current row
            )
        end as owner_id,
    from ordered
),

differing as (
    select *
    from filled
    qualify owner_id is distinct from lag(owner_id) over (
        partition by system, record_id
        order by place
    )
),

reps as (
    select
        rep_id,
        unnest(from_json(source_records, '["VARCHAR"]')) as source_record,
    from {{ ref('dim_reps') }}
),

priorities as (
    select * from {{ source('raw_policies', 'accounts_choices') }}
    where is_active and choice = 'source'
),

versions as (
    select
        accounts.account_id,
        differing.*,
        reps.rep_id,
        coalesce(priorities.priority, 1000) as priority,
    from differing
    inner join {{ ref('int_accounts__current') }} as accounts
        on differing.system = accounts.system and differing.record_id = accounts.record_id
    left join reps on differing.system || ':' || differing.owner_id = reps.source_record
    left join priorities on differing.system = priorities.name
),

instants as (
    select distinct
        account_id,
        known_at,
    from versions
),

known as (
    select
        instants.account_id,
        instants.known_at,
        versions.rep_id,
        versions.priority,
        versions.system,
        versions.record_id,
    from instants
    inner join versions on instants.account_id = versions.account_id and instants.known_at >= versions.known_at
    qualify row_number() over (
        partition by instants.account_id, instants.known_at, versions.system, versions.record_id
        order by versions.place desc
    ) = 1
)

select
    account_id,
    arg_min(rep_id, row(priority, system, record_id)) as rep_id,
    known_at as known_from,
from known
group by account_id, known_at
