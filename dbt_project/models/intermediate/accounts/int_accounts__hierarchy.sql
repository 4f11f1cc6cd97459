-- Where a company stands above and below others. A chain of parents that comes back to where it began says nothing: of the accounts on it
-- each is its own top, and is reported.
with recursive accounts as (
    select * from {{ ref('int_accounts__current') }}
),

priorities as (
    select * from {{ source('raw_policies', 'accounts_choices') }}
    where is_active and choice = 'source'
),

stated as (
    select
        accounts.account_id,
        parents.account_id as parent_account_id,
        row(coalesce(priorities.priority, 1000), -epoch_us(accounts.occurred_at), accounts.system, accounts.record_id) as preference,
    from accounts
    inner join accounts as parents on accounts.system = parents.system and accounts.parent_id = parents.record_id
    left join priorities on accounts.value_source = priorities.name
    where not accounts.is_deleted and not parents.is_deleted and accounts.account_id <> parents.account_id
),

links as (
    select
        account_id,
        arg_min(parent_account_id, preference) as parent_account_id,
    from stated
    group by account_id
),

upwards as (
    select
        account_id,
        parent_account_id as ancestor_id,
        [account_id] as path,
    from links
    union all
    select
        upwards.account_id,
        links.parent_account_id as ancestor_id,
        list_append(upwards.path, links.account_id) as path,
    from upwards
    inner join links on upwards.ancestor_id = links.account_id
    where not list_contains(upwards.path, upwards.ancestor_id)
),

circular as (
    select distinct account_id from upwards
    where ancestor_id = account_id
),

parents as (
    select * from links
    where account_id not in (select circular.account_id from circular)
),

known as (
    select distinct account_id from accounts
),

downwards as (
    select
        account_id,
        cast(null as varchar) as parent_account_id,
        account_id as ultimate_parent_account_id,
        0 as hierarchy_depth,
    from known
    where account_id not in (select parents.account_id from parents)
    union all
    select
        parents.account_id,
        parents.parent_account_id,
        downwards.ultimate_parent_account_id,
        downwards.hierarchy_depth + 1 as hierarchy_depth,
    from downwards
    inner join parents on downwards.account_id = parents.parent_account_id
)

select
    account_id,
    parent_account_id,
    ultimate_parent_account_id,
    cast(hierarchy_depth as bigint) as hierarchy_depth,
    account_id in (select circular.account_id from circular) as is_in_parent_cycle,
from downwards
