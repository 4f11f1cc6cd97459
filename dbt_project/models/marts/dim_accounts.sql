with accounts as (
    select * from {{ ref('int_accounts__grouped') }}
),

owners as (
    select * from {{ ref('int_accounts__owners') }}
    qualify row_number() over (
        partition by account_id
        order by known_from desc
    ) = 1
),

hierarchy as (
    select * from {{ ref('int_accounts__hierarchy') }}
),

people as (
    select
        account_id,
        count(distinct person_id) as person_count,
    from {{ ref('entity_map') }}
    where known_to is null and person_id is not null and account_id is not null
    group by account_id
)

select
    accounts.account_id,
    owners.rep_id as owner_rep_id,
    hierarchy.parent_account_id,
    hierarchy.ultimate_parent_account_id,
    accounts.name,
    accounts.domain,
    accounts.industry,
    accounts.country,
    accounts.region,
    accounts.annual_revenue_usd,
    accounts.employee_count,
    accounts.value_sources,
    accounts.record_count,
    coalesce(people.person_count, 0) as person_count,
    hierarchy.hierarchy_depth,
    hierarchy.is_in_parent_cycle,
    accounts.has_open_opportunity,
    accounts.is_customer,
    accounts.has_owner,
    accounts.has_own_record,
    accounts.is_deleted,
    accounts.enriched_at,
    accounts.first_received_at,
from accounts
inner join hierarchy on accounts.account_id = hierarchy.account_id
left join people on accounts.account_id = people.account_id
left join owners on accounts.account_id = owners.account_id
