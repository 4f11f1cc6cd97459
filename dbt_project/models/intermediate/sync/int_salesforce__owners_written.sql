{{ config(
    materialized='incremental',
    incremental_strategy='append',
    indexes=[{'columns': ['person_id']}, {'columns': ['record_key']}],
    pre_hook="{% if is_incremental() %}delete from {{ this }} where {{ is_new() }}{% endif %}",
) }}

-- Owners of leads that we wrote and found as written, with the task of the decision they were written for; kept, so that a batch does not
-- read every receipt again.
select
    person_id,
    {{ record_key("'salesforce'", "'lead'", 'record_id') }} as record_key,
    json_extract_string(written, '$.OwnerId') as owner_id,
    -- The decision is named by its task, as versions of policies come and go.
    json_extract_string(cast(reasons as json), '$[2]') as task_key,
    planned_at,
    received_at,
    load_id,
from {{ ref('stg_events__receipts') }}
where
    system = 'salesforce'
    and object = 'Lead'
    and status = 'confirmed'
    and json_extract_string(written, '$.OwnerId') is not null
    and {{ is_new() if is_incremental() else 'true' }}
