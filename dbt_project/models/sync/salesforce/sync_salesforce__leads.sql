{{ config(
    materialized='incremental',
    incremental_strategy='replace_decided',
    unique_key='person_id',
    indexes=[{'columns': ['person_id']}],
) }}

-- depends_on: {{ ref('int_batch__touched_people') }}
{% set fields = {
    'Email': 'email', 'Phone': 'phone', 'FirstName': 'first_name', 'LastName': 'last_name', 'Company': 'company', 'Title': 'job_title',
    'LeadSource': 'lead_source', 'OwnerId': 'owner_salesforce_id', 'Handoff_Person_Id__c': 'person_id',
    'Handoff_Score__c': 'mql_score', 'Handoff_Mql_At__c': 'mql_at', 'Handoff_Reasons__c': 'mql_reasons',
} %}

with assignments as (
    select *
    from {{ ref('fct_assignments') }}
    where {{ where_touched() }}
    qualify row_number() over (partition by person_id order by assigned_at desc, assignment_number desc, assignment_id asc) = 1
),

mqls as (
    select * from {{ ref('fct_mqls') }}
    where {{ where_touched() }}
    {{ looked_up() }}
),

people as (
    select * from {{ ref('dim_people') }}
    where not is_deleted
),

reps as (
    select * from {{ ref('dim_reps') }}
),

accounts as (
    select * from {{ ref('int_accounts__grouped') }}
),

targets as (
    select * from {{ ref('int_salesforce__leads_targeted') }}
    where not is_gone
),

consents as (
    select * from {{ ref('int_consents__destinations') }}
    where destination = 'salesforce'
),

observed as (
    select * from {{ ref('int_salesforce__fields_observed') }}
),

field_policies as (
    select * from {{ source('raw_policies', 'sync_fields') }}
    where destination = 'salesforce' and object = 'Lead' and is_active
),

-- Who is a contact in the CRM already is not made a lead again. What a field there cannot hold is cut, an address or a number left out, or
-- one visitor's answer would stop everybody's leads; ops.field_misfits lists them.
desired as (
    select
        assignments.assignment_id,
        assignments.task_key,
        mqls.mql_id,
        people.person_id,
        targets.lead_record_id,
        case when {{ salesforce_lead_holds('people.email', 'Email') }} then trim(people.email) end as email,
        case when {{ salesforce_lead_holds('people.phone', 'Phone') }} then trim(people.phone) end as phone,
        {{ salesforce_lead_text('people.first_name', 'FirstName') }} as first_name,
        coalesce(
            {{ salesforce_lead_text('people.last_name', 'LastName') }},
            {{ salesforce_lead_text('people.first_name', 'LastName') }},
            {{ salesforce_lead_text("split_part(people.email, '@', 1)", 'LastName') }},
            'Unknown'
        ) as last_name,
        coalesce(
            {{ salesforce_lead_text('people.company', 'Company') }},
            {{ salesforce_lead_text('accounts.name', 'Company') }},
            {{ salesforce_lead_text("split_part(people.email, '@', 2)", 'Company') }},
            'Unknown'
        ) as company,
        {{ salesforce_lead_text('people.job_title', 'Title') }} as job_title,
        {{ salesforce_lead_text('people.original_source', 'LeadSource') }} as lead_source,
        reps.salesforce_user_id as owner_salesforce_id,
        cast(round(mqls.score, 1) as double) as mql_score,
        {{ salesforce_instant('mqls.reached_at') }} as mql_at,
        left({{ reasons_text('mqls.reasons', "'; '") }}, 255) as mql_reasons,
        coalesce(consents.is_consented, false) as is_consented,
        mqls.trace_parent,
    from assignments
    inner join mqls on assignments.mql_id = mqls.mql_id
    inner join people on assignments.person_id = people.person_id
    inner join targets on assignments.person_id = targets.person_id
    left join reps on assignments.rep_id = reps.rep_id
    left join accounts on people.account_id = accounts.account_id
    left join consents on people.person_id = consents.person_id
    where targets.contact_record_id is null or targets.lead_record_id is not null
),

desired_fields as (
    {% for field, column in fields.items() %}
    select
        person_id,
        lead_record_id,
        '{{ field }}' as field,
        cast({{ column }} as varchar) as desired_value,
        to_json({{ column }}) as json_value,
    from desired
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

compared as (
    select
        desired_fields.*,
        observed.observed_value,
        coalesce(observed.was_written, false) as was_written,
        -- Somebody changed it after we wrote it: theirs stands.
        coalesce(observed.was_written and observed.observed_value is distinct from observed.last_written_value, false)
            as is_human_edit,
        coalesce(field_policies.mode, 'never') as mode,
    from desired_fields
    left join observed
        on desired_fields.lead_record_id = observed.record_id and desired_fields.field = observed.field
    left join field_policies on desired_fields.field = field_policies.field
),

changed as (
    select *
    from compared
    where
        desired_value is not null
        and desired_value is distinct from observed_value
        and not is_human_edit
        and (
            lead_record_id is null
            or mode = 'always'
            -- Ours as long as it is what we wrote: whoever changed it there has the last word.
            or (mode = 'follow' and (observed_value is null or was_written))
            or (mode = 'fill_empty' and observed_value is null)
        )
),

gathered as (
    select
        person_id,
        cast(json_group_object(field, json_value) as varchar) as payload,
        cast(json_group_object(field, { 'old': observed_value, 'new': desired_value }) as varchar) as changes,
    from (
        select * from changed
        order by person_id, field
    ) as sorted
    group by person_id
)

select
    {{ guid(["'Lead'", 'desired.person_id', "coalesce(desired.lead_record_id, '')", 'gathered.payload']) }} as operation_id,
    'Lead' as object,
    case when desired.lead_record_id is null then 'upsert' else 'update' end as action,
    'Handoff_Person_Id__c' as external_id_field,
    desired.person_id as external_id,
    desired.lead_record_id as target_id,
    desired.person_id,
    cast(null as varchar) as depends_on_external_id,
    desired.last_name,
    desired.company,
    desired.email,
    desired.owner_salesforce_id,
    gathered.payload,
    gathered.changes,
    cast(to_json([desired.mql_id, desired.assignment_id, desired.task_key]) as varchar) as reasons,
    desired.trace_parent,
    desired.is_consented,
from desired
inner join gathered on desired.person_id = gathered.person_id
-- Whoever may not be pushed is not planned; consent is asked once more when a row is sent.
where desired.is_consented
