{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key='person_id',
    indexes=[{'columns': ['person_id']}],
) }}

-- depends_on: {{ ref('int_batch__touched_people') }}
{% set trial = trial_of('scoring') %}
with recursive activities as (
    select * from {{ ref('fct_activities') }}
    where {{ where_touched() }}
),

-- What consent forbids to use is written down all the same, with the reason: the figures of a person can then be explained.
refusals as (
    select * from {{ ref('int_consents__score_refusals') }}
    where {{ where_touched() }}
    {{ looked_up() }}
),

activities_withheld as (
    select
        activities.activity_id,
        min(greatest(activities.occurred_at, refusals.from_at)) as withheld_at,
        arg_min(refusals.rule_id, row(greatest(activities.occurred_at, refusals.from_at), refusals.rule_id)) as withheld_by,
    from activities
    inner join refusals on activities.person_id = refusals.person_id
    where
        {{ is_of_refused_type('refusals', 'activities') }}
        and (
            {{ is_while_refused('refusals', 'activities') }}
            or (refusals.covers = 'everything' and refusals.until_at is null)
        )
    group by activities.activity_id
),

people_withheld as (
    select
        person_id,
        min(from_at) as from_at,
        arg_min(rule_id, row(from_at, rule_id)) as withheld_by,
    from refusals
    where covers = 'everything' and until_at is null
    group by person_id
),

people as (
    select
        people.*,
        accounts.industry,
        accounts.employee_count,
        accounts.annual_revenue_usd,
    from {{ ref('dim_people') }} as people
    left join {{ ref('int_accounts__grouped') }} as accounts on people.account_id = accounts.account_id
    where {{ where_touched('people.person_id') }}
),

versions as (
    select * from {{ source('raw_policies', 'scoring_versions') }}
    where is_active
),

rules as (
    select
        rules.*,
        versions.total_cap,
    from {{ source('raw_policies', 'scoring_rules') }} as rules
    inner join versions on rules.version = versions.version
),

attributes as (
    unpivot (
        select
            person_id,
            first_seen_at,
            cast(job_title as varchar) as job_title,
            cast(country as varchar) as country,
            cast(industry as varchar) as industry,
            cast(employee_count as varchar) as employee_count,
            cast(annual_revenue_usd as varchar) as annual_revenue_usd,
            cast(company as varchar) as company,
            cast(region as varchar) as region,
            split_part(lower(email), '@', 2) as email_domain,
            cast(original_source as varchar) as original_source,
            cast(latest_source as varchar) as latest_source,
        from people
    )
    on job_title, country, industry, employee_count, annual_revenue_usd, company, region, email_domain, original_source, latest_source
    into name attribute value attribute_value
),

-- A pattern that comes from a row is compiled at every use: each spelling is matched once, whatever number of activities shares it.
-- Materialized, or the optimizer joins the activities first.
spellings as materialized (
    select distinct
        activity_type,
        url,
        form_id,
        campaign_id,
    from activities
),

spellings_matched as materialized (
    select
        spellings.*,
        rules.version,
        rules.rule_id,
    from spellings
    inner join rules
        on
            rules.kind = 'engagement'
            and spellings.activity_type = rules.activity_type
            and (rules.url_pattern is null or regexp_matches(coalesce(spellings.url, ''), rules.url_pattern))
            and (rules.form_pattern is null or regexp_matches(coalesce(spellings.form_id, ''), rules.form_pattern))
            and (
                rules.campaign_pattern is null
                or regexp_matches(coalesce(spellings.campaign_id, ''), rules.campaign_pattern)
            )
),

engagement as not materialized (
    select
        activities.person_id,
        rules.version as scoring_version,
        rules.rule_id,
        'engagement' as entry_kind,
        activities.activity_id,
        cast(null as varchar) as attribute,
        rules.label,
        rules.points,
        rules.cap,
        rules.group_id,
        rules.group_cap,
        rules.total_cap,
        rules.half_life_days,
        activities.occurred_at,
        activities.received_at,
        activities.trace_parent,
        rules.once as is_once,
        rules.cooldown_hours,
        withheld.withheld_at,
        withheld.withheld_by,
    from activities
    inner join spellings_matched as matched
        on
            activities.activity_type = matched.activity_type
            and activities.url is not distinct from matched.url
            and activities.form_id is not distinct from matched.form_id
            and activities.campaign_id is not distinct from matched.campaign_id
    inner join rules on matched.version = rules.version and matched.rule_id = rules.rule_id
    left join activities_withheld as withheld on activities.activity_id = withheld.activity_id
),

-- One after the other: whether an activity counts depends on which one counted last. What consent withholds starts no cooldown.
awaited as (
    select
        person_id,
        scoring_version,
        rule_id,
        any_value(cooldown_hours) * 3600000000 as cooldown_us,
        list(
            {
                'at': epoch_us(occurred_at),
                'id': activity_id
            }
            order by occurred_at, activity_id
        ) as told,
    from engagement
    where cooldown_hours is not null and not coalesce(withheld_at <= occurred_at, false)
    group by person_id, scoring_version, rule_id
),

cooled as (
    select
        person_id,
        scoring_version,
        rule_id,
        cooldown_us,
        told,
        told[1] as kept,
    from awaited
    union all
    select
        person_id,
        scoring_version,
        rule_id,
        cooldown_us,
        list_filter(told, lambda one: one['at'] - kept['at'] >= cooldown_us) as following,
        following[1] as kept,
    from cooled
    where told[-1]['at'] - kept['at'] >= cooldown_us
),

-- Apart, or all would be sorted for the few that count once.
engagement_counted as (
    select * from engagement
    where not is_once and (cooldown_hours is null or coalesce(withheld_at <= occurred_at, false))
    union all
    select engagement.* from engagement
    semi join cooled
        on
            engagement.cooldown_hours is not null
            and engagement.person_id = cooled.person_id
            and engagement.scoring_version = cooled.scoring_version
            and engagement.rule_id = cooled.rule_id
            and engagement.activity_id = cooled.kept['id']
    union all
    select * from engagement
    where is_once
    qualify row_number() over (
        partition by person_id, scoring_version, rule_id
        order by coalesce(withheld_at <= occurred_at, false) asc, occurred_at asc, activity_id asc
    ) = 1
),

values_stated as materialized (
    select distinct
        attribute,
        attribute_value,
    from attributes
),

values_matched as materialized (
    select
        stated.attribute,
        stated.attribute_value,
        rules.version,
        rules.rule_id,
    from values_stated as stated
    inner join rules
        on
            rules.kind in ('fit', 'exclusion')
            and stated.attribute = rules.attribute
            and case rules.operator
                when 'equals' then lower(stated.attribute_value) = lower(rules.value)
                when 'in'
                    then list_contains(
                        list_transform(from_json(rules.value, '["VARCHAR"]'), lambda item: lower(item)),
                        lower(stated.attribute_value)
                    )
                when 'matches' then regexp_matches(stated.attribute_value, rules.value)
                when 'at_least' then try_cast(stated.attribute_value as double) >= try_cast(rules.value as double)
                when 'present' then true
            end
),

fit as (
    select
        attributes.person_id,
        rules.version as scoring_version,
        rules.rule_id,
        rules.kind as entry_kind,
        cast(null as varchar) as activity_id,
        attributes.attribute,
        rules.label,
        rules.points,
        rules.cap,
        rules.group_id,
        rules.group_cap,
        rules.total_cap,
        rules.half_life_days,
        attributes.first_seen_at as occurred_at,
        attributes.first_seen_at as received_at,
        cast(null as varchar) as trace_parent,
        case when withheld.person_id is not null then greatest(attributes.first_seen_at, withheld.from_at) end as withheld_at,
        withheld.withheld_by,
    from attributes
    inner join values_matched as matched
        on attributes.attribute = matched.attribute and attributes.attribute_value = matched.attribute_value
    inner join rules on matched.version = rules.version and matched.rule_id = rules.rule_id
    left join people_withheld as withheld on attributes.person_id = withheld.person_id
),

entries as (
    select * from engagement_counted
    union all by name
    select * from fit
){% if trial %},

-- One version decides for a person, though two are in use.
decided as (
    select
        person_id,
        {{ version_for('scoring', trial, 'person_id', 'email') }} as scoring_version,
    from people
)
{% endif %}

select
    {{ guid([
        'entries.person_id', 'entries.scoring_version', 'entries.rule_id', "coalesce(entries.activity_id, '')",
        "coalesce(entries.attribute, '')"
    ]) }} as ledger_entry_id,
    entries.person_id,
    entries.scoring_version,
    entries.rule_id,
    entries.entry_kind,
    entries.activity_id,
    entries.attribute,
    entries.label,
    entries.points,
    entries.cap,
    entries.group_id,
    entries.group_cap,
    entries.total_cap,
    entries.half_life_days,
    entries.trace_parent,
    entries.withheld_by,
    entries.withheld_at,
    entries.occurred_at,
    entries.received_at,
from entries
{% if trial %}
    semi join decided on entries.person_id = decided.person_id and entries.scoring_version = decided.scoring_version
{% endif %}
where entries.occurred_at <= {{ as_of() }}
